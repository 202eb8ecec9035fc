# `stint status` against an agent that answers well, or badly.
# shellcheck shell=bash disable=SC2154

# with_agent MODE NAME STATUS PATTERN OPTION...
with_agent() {
	local mode=$1 name=$2 status=$3 pattern=$4
	shift 4
	rm -f "$tmp/fake.sock" "$tmp/ready"
	"$here/fake-agent" "$tmp/fake.sock" "$mode" >"$tmp/ready" 2>/dev/null &
	local pid=$!
	wait_for 10 grep -q ready "$tmp/ready"
	expect "$name" "$status" "$pattern" "$stint" --socket "$tmp/fake.sock" status "$@"
	kill "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
}

with_agent good 'status: the agent' 4 '^agent +0\.1\.0 on host a\\x1b\[31mb, process 7, up 1 min 1 s, apps connected: 3'
ok 'status: the database' "$(grep -qE '^database +postgresql, fallback for 1 min 30 s, 2 live hosts, round trip 1\.5 ms, 3 fall' <<<"$output"; echo $?)" "$output"
ok 'status: the last error' "$(grep -qE '^error +no\\x0aroute' <<<"$output"; echo $?)" "$output"
ok 'status: the table' "$(grep -qE '^table +1 of 1000 clients, 1\.0 MiB, 0 evicted, 0 without room' <<<"$output"; echo $?)" "$output"
ok 'status: counters' "$(grep -qE '^allowed +9000000000  of these checks; most are decided from the table, and not counted$' <<<"$output"; echo $?)" "$output"
ok 'status: policies, with what is missing as a dash' "$(grep -qE '^api +100 +1000 +- +- +sliding_window +- +- +- +yes$' <<<"$output"; echo $?)" "$output"
ok 'status: nothing is held back' "$([[ $output != *waits* ]]; echo $?)" "$output"
with_agent held=8200 'status: grants held back after a failover' 4 '^waits +8\.2 s more, until leases of the server before have ended on all hosts$'
rm -f "$tmp/fake.sock" "$tmp/ready"
"$here/fake-agent" "$tmp/fake.sock" held=8200 >"$tmp/ready" 2>/dev/null &
held=$!
wait_for 10 grep -q ready "$tmp/ready"
expect 'doctor: ... too' 0 "^warning +agent's database +fallback for 8\\.2 s more, until leases of the server before .*; wait$" \
	env -u STINT_DATABASE PGHOST="$tmp/nowhere" "$stint" --socket "$tmp/fake.sock" doctor
kill "$held" 2>/dev/null
wait "$held" 2>/dev/null
with_agent good 'status --json: what this program does not know stays' 4 '"something": "new"' --json
with_agent minimal 'status: nothing known' 0 '^agent'
ok 'status: nothing known is not told of' "$([[ $output == 'agent      on host , process 0, up 0 ms, apps connected: 0
database  ,  for 0 ms, 0 live hosts, round trip -, 0 fallbacks so far
table     0 of 0 clients, 0 B, 0 evicted, 0 without room

counter  value  since the agent has started' ]]; echo $?)" "$output"
with_agent minimal 'status --json: nothing known' 0 '^\{\}$' --json
with_agent hangup 'status: the agent hangs up' 3 'hung up'
with_agent silent 'status: no answer' 3 'no answer in time'
with_agent garbage 'status: garbage' 3 'does not understand'
with_agent short 'status: less than a head' 3 'does not understand'
with_agent version 'status: another version' 3 'of different versions'
with_agent version '... and what to do' 3 'this command and the agent .*; install all of one version, and restart the agent$'
with_agent empty 'status: empty pieces for ever' 3 'does not understand'
with_agent endless 'status: no end' 3 'does not understand'
with_agent array 'status: no object' 3 'no JSON object'
with_agent broken 'status: broken JSON' 3 'no JSON object'
with_agent deaf 'status: what is sent to it fails' 3 'out of reach: Broken pipe'
with_agent late-head 'status: another message for a welcome' 3 'does not understand'
with_agent half-welcome 'status: a welcome cut short' 3 'does not understand'
with_agent welcome-again 'status: another message for a text' 3 'does not understand'
with_agent blanks=4194302 'status: as long as it may be' 0 '^\{\}$' --json
with_agent blanks=4194303 'status: too long' 3 'does not understand' --json
with_agent state=connecting 'status: not connected yet' 4 '^error +no.x0aroute'
for state in 'in step' resync 'something new'; do
	with_agent "state=$state" "status: $state" 0 "^database +postgresql, $state for "
	ok "status: $state: the last error" "$([[ $(grep -c '^error' <<<"$output") == $([[ $state == 'in step' ]]; echo $?) ]]; echo $?)" "$output"
	with_agent "state=$state" "status --json: $state" 0 "\"state\": \"$state\"" --json
done
