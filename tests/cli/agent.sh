# What needs the real agent: first one that keeps its counters itself, then one with a database that dies.
# shellcheck shell=bash disable=SC2154

# count_down FIRST LIMIT CLIENT: ten processes, one check each, of policy "many". What each is told is one less than the one before.
count_down() {
	local i wanted='' seen=''
	for ((i = $1; i > $1 - 10; i--)); do
		wanted+="$i of $2 "
		seen+=$("${s[@]}" check many "$3" | sed -nE 's/^allowed by .*: ([0-9]+ of [0-9]+) remaining, free again after .*/\1 /p')
	done
	ok "ten processes, one check each: $3" "$([[ $seen == "$wanted" ]]; echo $?)" "wanted: $wanted
seen:   $seen"
}

# What is changed is in force within a second; a busy machine takes longer.
knows_policy() { "${s[@]}" status | grep -q "^$1 "; }

# ---- in memory ----------------------------------------------------------------------

start_agent memory memory:
s=("$stint" --socket "$tmp/memory/sock")
expect 'memory: status' 0 '^agent +[0-9.]+ on host memory, process [0-9]+, up ' "${s[@]}" status
ok 'memory: status names the process' "$(grep -q "process $agent," <<<"$output"; echo $?)" "$output"
expect 'memory: the database is none' 0 '^database +memory' "${s[@]}" status
expect 'memory: doctor' 0 "^ok +agent's database +none \\(memory:\\)" "${s[@]}" doctor
ok '... looks at no database' "$(! grep -q '^[a-z]* *server ' <<<"$output"; echo $?)" "$output"
expect 'memory: status --json' 0 '"kind": "memory"' "${s[@]}" status --json
expect 'memory: an unknown policy' 2 'there is no policy "api": the agent has no database \(memory:\), so there are only those that apps .*declare; "stint status"' "${s[@]}" check api a
expect 'memory: a policy name that is none' 2 'must be 1 to 63 bytes' "${s[@]}" check 'a b' a
expect 'memory: a client id that is empty' 2 'must be 1 to 255 bytes' "${s[@]}" check api ''
expect 'memory: a client id too long' 2 'must be 1 to 255 bytes' "${s[@]}" check api "$(printf '%0256d' 0)"
expect 'memory: a client id that is no UTF-8' 2 'is not UTF-8 from byte 1 on' "${s[@]}" check api $'\xff'
expect 'memory: metrics tell the version' 0 '^stint_build_info\{version="[0-9.]+"\} 1$' "${s[@]}" metrics
expect 'memory: metrics tell the state' 0 '^stint_agent_state\{state="memory"\} 1$' "${s[@]}" metrics
expect 'metrics take no arguments' 2 'no argument|takes no|unexpected|too many' "${s[@]}" metrics x
stop_agent "$agent"
expect 'memory: metrics of no agent' 3 'the agent at .* is out of reach' "${s[@]}" metrics
expect 'memory: the agent has stopped' 3 'out of reach' "${s[@]}" check api a

# ---- with a database -------------------------------------------------------------------

conninfo=$("$pg_cluster" start "$tmp/db2" 2>/dev/null) || { echo "Bail out! no PostgreSQL"; exit 1; }
cleanups+=('"$pg_cluster" remove "$tmp/db2"')
start_agent early "$conninfo"
early=$agent
expect 'no schema yet: the agent is up all the same' 4 '^database +postgresql.* round trip -,' "$stint" --socket "$tmp/early/sock" status
expect 'no schema yet: a policy can not be known' 4 'the database is out of reach' "$stint" --socket "$tmp/early/sock" check api a

export STINT_DATABASE=$conninfo
"$stint" db init >/dev/null
ok 'the agent finds the schema by itself' "$(wait_for 10 database_is "$tmp/early/sock" 'in step'; echo $?)" "$(cat "$tmp/early/log")"
stop_agent "$early"

start_agent real "$conninfo"
s=("$stint" --socket "$tmp/real/sock")
ok 'in step' "$(wait_for 10 database_is "$tmp/real/sock" 'in step'; echo $?)" "$(cat "$tmp/real/log")"
expect 'in step: metrics say so' 0 '^stint_agent_state\{state="in_step"\} 1$' "${s[@]}" metrics
expect 'in step: so the status is 0' 0 'round trip -, 0 fallbacks so far' "${s[@]}" status
expect 'doctor: no error' 0 '^ok +agent +version [0-9.]+ on host real, process ' "${s[@]}" doctor
for what in "agent's database +in step, 1 live hosts" 'shared memory ' 'server +PostgreSQL ' 'clocks ' 'isolation ' 'pooler +none' 'notices +LISTEN is possible' \
	'old snapshots +none' 'schema +version' 'owners and rights +all as' 'hosts +[0-9]+ known' 'dropped policies +none'; do
	ok "doctor: ... $what" "$(grep -qE "^ok +$what" <<<"$output"; echo $?)" "$output"
done
ok 'doctor: libraries, of whatever else runs here' "$(grep -qE '^(ok|warning) +libraries +' <<<"$output"; echo $?)" "$output"
ok 'doctor: warns of fsync' "$(grep -qE '^warning +durability +fsync off, ' <<<"$output"; echo $?)" "$output"
ok 'doctor: warns of agents that are no stint_agent' "$(grep -qE "^warning +agents' logins +no login has the role stint_agent; create role " <<<"$output"; echo $?)" "$output"
expect 'doctor: a database that nobody names is no error beside an agent' 0 "^warning +database +can't connect: .*; name it: " \
	env -u STINT_DATABASE PGHOST="$tmp/nowhere" "${s[@]}" doctor
expect 'doctor: ... but one that is named' 1 "^error +database +can't connect: .*; is it up, " "${s[@]}" --database "host=$tmp/nowhere" doctor
expect 'db status shows the host' 0 '^real ' "$stint" db status
expect 'an unknown policy' 2 'there is no policy "api"; "stint policy list" shows' "${s[@]}" check api a
"$stint" policy set api --max-requests 2 --time-window-ms 3600000 --fallback-max-requests 1 >/dev/null
"$stint" policy set many --max-requests 100 --time-window-ms 36000000 --fallback-max-requests 50 >/dev/null
"$stint" client limit many own --max-requests 30 >/dev/null
wait_for 10 knows_policy many
expect 'allowed' 0 '^allowed by .*: 1 of 2 remaining' "${s[@]}" check api a
expect 'a policy that is nearly known' 2 'there is no policy "appi"; did you mean "api"\?$' "${s[@]}" check appi a
expect 'allowed: the last one' 0 '^allowed by .*: 0 of 2 remaining' "${s[@]}" check api a
expect 'denied' 1 '^denied by .*: 0 of 2 remaining, retry after ' "${s[@]}" check api a
expect 'denied --json' 1 '"allowed": false' "${s[@]}" check api a --json
count_down 99 100 first
count_down 29 30 own
"${s[@]}" check many first >/dev/null --cost 80
leased_by_name() { "$stint" client show many first >"$tmp/leased"; grep -qE '^leases +up to [0-9]+ unspent, on 1 hosts \(real\), until 20' "$tmp/leased"; }
ok 'client show: which host has leases, once it has said who it is' "$(wait_for 15 leased_by_name; echo $?)" "$(cat "$tmp/leased")"
expect 'client show: what the agent says' 0 "^This host's agent: allowed by lease \\(admitted\\), 10 of 100 remaining" "${s[@]}" client show many first
expect 'more than is left' 1 '^denied by .*: 10 of 100 remaining, retry after .*, free again after ' "${s[@]}" check many first --cost 11
expect 'more than is left, asked again' 1 '^denied by lease: 10 of 100 remaining, retry after ' "${s[@]}" check many first --cost 11
expect 'a cost above the limit' 1 ': 2 of 2 remaining, this cost is above the limit and never admitted$' "${s[@]}" check api b --cost 3
expect 'a cost above the limit --json' 1 '"reason": "cost_above_limit"' "${s[@]}" check api b --cost 3 --json
expect 'never: but a time that makes sense' 1 '"retry_after_ms": 3600000,' "${s[@]}" check api b --cost 3 --json
expect 'allowed --json' 0 '"allowed": true' "${s[@]}" check many whole --cost 3 --json
wanted='\{"policy":"many","client_id":"whole","cost":3,"allowed":true,"shadow_denied":false,"source":"(database|advance)","reason":"admitted",'
wanted+='"limit":100,"time_window_ms":36000000,"remaining":97,"retry_after_ms":0,"reset_after_ms":[1-9][0-9]{6,7}\}'
ok '... with all that is known' "$(tr -d ' \n' <<<"$output" | grep -qxE "$wanted"; echo $?)" "$output"
# of policy api so far: 2 admitted, and 2 denied, then 3 more of a cost above the limit
expect 'each decision is counted once' 0 '^stint_decisions_total\{policy="api",outcome="denied",source="[a-z]+"\} [1-9]' "${s[@]}" metrics
ok '... exactly' "$(awk '/^stint_decisions_total\{policy="api",outcome="allowed"/ { allowed += $2 }
	/^stint_decisions_total\{policy="api",outcome="denied"/ { denied += $2 } END { exit allowed != 2 || denied != 5 }' <<<"$output"; echo $?)" "$output"
expect 'a cost' 0 '^allowed by .*: 0 of 2 remaining' "${s[@]}" check api b --cost 2
expect 'an id that looks like an option' 0 '"client_id": "--json"' "${s[@]}" check --json api -- --json
expect 'the round trip is known' 0 'round trip [0-9]+\.[0-9] ms,' "${s[@]}" status
expect 'status knows the policy' 0 '^api +2 +3600000 +1 +3600000 ' "${s[@]}" status
"$stint" client block api blocked >/dev/null # nobody has asked for it yet: so it is in force at once
expect 'a blocked client' 1 '^denied by database: the client is blocked$' "${s[@]}" check api blocked
# Once the agent has met the change, that is.
denied_by_lease() { "${s[@]}" check api blocked >"$tmp/blocked"; grep -qx 'denied by lease: the client is blocked' "$tmp/blocked"; }
ok 'a blocked client, asked again' "$(wait_for 10 denied_by_lease; echo $?)" "$(cat "$tmp/blocked")"
expect 'a blocked client --json' 1 '"reason": "blocked"' "${s[@]}" check api blocked --json
"$stint" client limit api a --max-requests 3 >/dev/null
has_room() { "${s[@]}" check api a >"$tmp/room"; }
ok 'a limit of its own' "$(wait_for 10 has_room && grep -q '^allowed by .* of 3 remaining' "$tmp/room"; echo $?)" "$(cat "$tmp/room")"

# A shadow of it denies nobody; taken off, it is in force again.
"$stint" policy set many --shadow >/dev/null
admits() { "${s[@]}" check many first --cost 80 >"$tmp/shadow"; }
ok 'a shadow' "$(wait_for 10 admits && grep -qE '^allowed by [a-z]+, as the policy is a shadow; else denied: .* of 100 remaining, retry after ' "$tmp/shadow"; echo $?)" \
	"$(cat "$tmp/shadow")"
expect 'a shadow --json' 0 '"shadow_denied": true' "${s[@]}" check many first --cost 80 --json
ok '... with the reason' "$(grep -q '"reason": "over_limit"' <<<"$output"; echo $?)" "$output"
expect 'a shadow: the status says so' 0 '^many +100 .* +strict +yes +yes$' "${s[@]}" status
"$stint" policy set many --no-shadow >/dev/null
denies() { ! admits; }
ok 'no shadow any more' "$(wait_for 10 denies; echo $?)" "$(cat "$tmp/shadow")"

# Another agent of the same name; and none that only was one.
real=$agent
warnings() { grep -c 'another agent calls itself "real" too: give each a host of its own' "$tmp/$1/log"; }
STINT_HOST=real start_agent twin "$conninfo"
ok 'two agents of one name: both say so' \
	"$(wait_for 10 warnings real && wait_for 10 warnings twin; echo $?)" "$(cat "$tmp/real/log" "$tmp/twin/log")"
expect 'two agents of one name: db status shows it' 0 '"rival": "[^"]+"' "$stint" db status --json
sleep 2
ok '... once' "$([[ $(warnings real)$(warnings twin) == 11 ]]; echo $?)" "$(cat "$tmp/real/log" "$tmp/twin/log")"
stop_agent "$agent"
expect 'one of the two stops: the host has not' 0 '^real +in step' "$stint" db status
start_agent solo "$conninfo"
kill -KILL "$agent" && wait "$agent" 2>/dev/null
start_agent solo "$conninfo"
sleep 2.5
ok 'an agent that was killed and is back is alone' "$(! grep -q 'another agent' "$tmp/solo/log"; echo $?)" "$(cat "$tmp/solo/log")"
stop_agent "$agent"
agent=$real

# ---- audits ------------------------------------------------------------------------------

# Each policy's counts, as "POLICY ALLOWED DENIED SHADOW_DENIED", by the metrics and by the audit. Who stops hands in what there is.
by_metrics() {
	"${s[@]}" metrics | sed -nE 's/^stint_decisions_total\{policy="([^"]+)",outcome="([a-z_]+)".*\} ([0-9]+)$/\1 \2 \3/p' |
		awk '{ n[$1, $2] += $3; p[$1] } END { for (i in p) print i, n[i, "allowed"], n[i, "denied"], n[i, "shadow_denied"] }' | sort
}
by_audit() { "$stint" audit policies --last 1h | awk 'NR > 1 { print $1, $2, $3, $7 }' | sort; }
# One app that is denied again and again: but for the first times it reads that in the table. It prints how often.
flood() {
	STINT_SOCKET=$tmp/real/sock PYTHONPATH=lib/python timeout 120 python3 -c "
import stint
limiter = stint.Limiter(policy='api', max_requests=2, time_window_ms=3600000, timeout_ms=60000)
print(sum(not limiter.is_allowed('flooder') for _ in range(1000)))"
}
flooded=$(flood 2>"$tmp/flood")
wanted=$(by_metrics)
stop_agent "$real"
ok 'audit policies: each decision once' "$([[ -n $wanted && $(by_audit) == "$wanted" ]]; echo $?)" "wanted: $wanted
audit: $(by_audit)"
expect 'audit policies: those that deny most first' 0 '^policy +allowed +denied +percent +fallback +local +shadow_denied +hosts$' "$stint" audit policies
expect 'audit clients: who was blocked' 0 '^api +blocked +block +[1-9][0-9]* +0 +1 +20' "$stint" audit clients
ok '... and who has used up the limit' "$(grep -qE '^api +a +limit +[1-9]' <<<"$output"; echo $?)" "$output"
denied_by_metrics() { awk '$1 == "api" { print $3 }' <<<"$wanted"; }
denied_by_clients() { awk '$1 == "api" { sum += $4 } END { print sum }' <<<"$output"; }
ok '... and of each denial, whether an app or the agent told it, who it was' "$([[ $(denied_by_clients) == "$(denied_by_metrics)" ]]; echo $?)" \
	"$(denied_by_metrics) denied: $output"
if [[ -z $flooded ]] && grep -q ModuleNotFoundError "$tmp/flood"; then
	ok '... and whom an app has denied by the table # SKIP there is no module for this Python' 0
else
	ok '... and whom an app has denied by the table' "$([[ $flooded -ge 990 ]] && grep -qE "^api +flooder +limit +$flooded " <<<"$output"; echo $?)" \
		"$flooded: $(cat "$tmp/flood") $output"
fi
expect 'audit clients: of a policy' 0 '^many +first +limit ' "$stint" audit clients many --last 2h
ok '... and of no other' "$(! grep -q '^api' <<<"$output"; echo $?)" "$output"
expect 'audit clients: so many' 0 '^policy' "$stint" audit clients --top 1
ok '... and no more' "$([[ $(wc -l <<<"$output") -eq 2 ]]; echo $?)" "$output"
expect 'audit client: by the hour' 0 '^20[0-9-]+T[0-9]+:00:00.000Z +block +[1-9]' "$stint" audit client api blocked --last 1h
expect 'audit client: of nobody' 0 '^' "$stint" audit client api nobody
expect 'audit shadows' 0 '^many +[0-9]+ +[1-9][0-9]* +[0-9.]+ +1$' "$stint" audit shadows --last 30d
# It may have been before midnight.
by_day() { "$stint" audit shadows --json --day "$(date -u +%F)" && "$stint" audit shadows --json --day "$(date -u -d yesterday +%F)"; }
ok 'audit: of a day' "$(by_day | grep -q '"policy": "many"'; echo $?)" "$(by_day)"
expect 'audit: a month ago there was nothing' 0 '^\[\]$' "$stint" audit policies --json --day "$(date -u -d '30 days ago' +%F)"
expect 'audit clients: no such policy' 2 'there is no policy "appi"; did you mean "api"' "$stint" audit clients appi

start_agent real "$conninfo"
real=$agent
wait_for 10 database_is "$tmp/real/sock" 'in step'

"$pg_cluster" stop "$tmp/db2"
wait_for 10 database_is "$tmp/real/sock" fallback
expect 'fallback: a verdict is a verdict' 0 '^allowed by fallback: 0 of 1 remaining' "${s[@]}" check api new
count_down 49 50 away
expect 'fallback: doctor' 1 "^error +agent's database +fallback: " "${s[@]}" doctor
ok '... the database' "$(grep -qE "^error +database +can't connect: " <<<"$output"; echo $?)" "$output"
expect 'fallback: denied' 1 '^denied by fallback' "${s[@]}" check api new
expect 'fallback: status --json' 4 '"state": "fallback"' "${s[@]}" status --json
expect 'fallback: --json' 1 '"source": "fallback"' "${s[@]}" check api new --json
for command in status 'status --json' 'check api new --json'; do
	# shellcheck disable=SC2086
	expect "$command to a full disk" 5 'No space left|written' bash -c '"$0" "$@" >/dev/full' "${s[@]}" $command
done
expect 'fallback: a policy that can not be known' 4 'the database is out of reach' "${s[@]}" check other a
expect 'fallback: status says why' 4 '^error ' "${s[@]}" status

kill -STOP "$agent"
expect 'an agent that hangs' 3 'is out of reach: ' "${s[@]}" check api another
kill -CONT "$agent"
stop_agent "$agent"
unset STINT_DATABASE
