# The agent as an operator meets it: its command line, a configuration that is read again, what it tells systemd.
# shellcheck shell=bash disable=SC2154

d=$tmp/stintd
mkdir -p "$d"

# write_conf NAME LINE...: a configuration for a table and a socket of that name.
write_conf() {
	local name=$1
	shift
	printf '%s\n' '[stint]' "socket = $d/$name.sock" "shm = $shm-$name" 'max_clients = 1000' "host = $name" "$@" >"$d/$name.conf"
}

# begin NAME: the agent of that configuration; its process is $agent then.
begin() {
	"$stintd" -c "$d/$1.conf" >>"$d/$1.log" 2>&1 &
	agent=$!
	cleanups+=("end $agent")
	wait_for 10 "$stint" --socket "$d/$1.sock" status || sed 's/^/#   /' "$d/$1.log"
}

# end PROCESS [SIGNAL]: its exit code is $ended then.
end() {
	kill "-${2:-TERM}" "$1" 2>/dev/null
	wait_for 10 test ! -d "/proc/$1" || kill -KILL "$1" 2>/dev/null
	wait "$1" 2>/dev/null
	ended=$?
}

says() { grep -qE -- "$2" "$d/$1.log"; }

# ---- the command line -----------------------------------------------------------------

expect 'stintd --help' 0 '^Usage: stintd .*' "$stintd" --help
ok 'stintd --help names keys, defaults and bounds' \
	"$(grep -qE '^ +database .*\(required\)' <<<"$output" && grep -qE '^ +max_clients .*\(default [0-9]+\) \[[0-9]+ to [0-9]+\]' <<<"$output"; echo $?)" "$output"
expect 'stintd --version' 0 '^stintd [0-9]+\.[0-9]+' "$stintd" --version
expect 'stintd: an unknown option' 2 'Try stintd --help' "$stintd" --nonsense
expect 'stintd: too many words' 2 'unexpected argument "word"' "$stintd" word
expect 'stintd: no configuration' 2 "^stintd: error: $d/none.conf: No such file" "$stintd" -c "$d/none.conf"
expect 'stintd: no configuration, for a journal' 2 "^<3>$d/none.conf: No such file" env JOURNAL_STREAM=1:2 "$stintd" -c "$d/none.conf"

write_conf checked 'database = host=nowhere password=secret'
expect 'stintd --check' 0 "^socket = $d/checked.sock" "$stintd" --check -c "$d/checked.conf"
ok 'stintd --check keeps the password to itself' \
	"$(grep -qx 'database = (a connection string)' <<<"$output" && ! grep -q secret <<<"$output"; echo $?)" "$output"
write_conf checked 'database = memory:'
expect 'stintd --check: in memory' 0 '^database = memory:' "$stintd" --check -c "$d/checked.conf"
unsaid=$("$stintd" --help | sed -nE 's/^  ([a-z_]+)  .*/\1/p' | while read -r key; do grep -q "^$key = " <<<"$output" || echo "$key"; done)
ok '... and every key that --help names' "$([[ -z $unsaid ]]; echo $?)" "$unsaid"
printf '%0300d = 1\n' 0 >>"$d/checked.conf"
expect 'stintd --check: a line too long' 2 'checked.conf:7: a line is longer than' "$stintd" --check -c "$d/checked.conf"
write_conf checked 'database = memory:' ' host = indented'
expect 'stintd --check: a line that is indented' 2 'checked.conf:7: a line begins with a blank' "$stintd" --check -c "$d/checked.conf"
expect 'stintd --check: a folder for a file' 2 'cannot be read' "$stintd" --check -c "$d"

# ---- starting, and not starting ---------------------------------------------------------

write_conf one 'database = memory:'
begin one
one=$agent
sed "s/one.sock/two.sock/" "$d/one.conf" >"$d/two.conf"
expect 'a second agent on one table' 1 'another agent' "$stintd" -c "$d/two.conf"
sed "s/-one/-three/" "$d/one.conf" >"$d/three.conf"
expect 'a second agent on one socket' 1 'another agent listens on' "$stintd" -c "$d/three.conf"
expect 'the first goes on' 0 'on host one' "$stint" --socket "$d/one.sock" status
end "$one" INT
ok 'SIGINT ends it, too' "$([[ $ended -eq 0 ]] && says one 'SIGINT: stopping'; echo $?)" "$(cat "$d/one.log")"

# ---- the configuration again ---------------------------------------------------------------

# reload NAME PATTERN: until its log says so; what it said before doesn't count.
reload() {
	: >"$d/$1.log"
	kill -HUP "$agent"
	wait_for 10 says "$1" "$2"
}

begin one
write_conf one 'database = memory:' 'log_level = debug'
ok 'SIGHUP: the log level' "$(reload one 'reloaded' && "$stint" --socket "$d/one.sock" status >/dev/null && wait_for 5 says one 'debug: an app has'; echo $?)" \
	"$(cat "$d/one.log")"
write_conf one 'database = memory:' 'max_clients = 5'
ok 'SIGHUP: a mistake changes nothing' "$(reload one 'error: reload: .*nothing was changed'; echo $?)" "$(cat "$d/one.log")"
write_conf one 'database = memory:'
sed -i 's/^max_clients = .*/max_clients = 2000/' "$d/one.conf"
ok 'SIGHUP: what needs a restart' "$(reload one 'change with a restart only'; echo $?)" "$(cat "$d/one.log")"
ok '... still does' "$(reload one 'change with a restart only'; echo $?)" "$(cat "$d/one.log")"
for key in socket shm; do # each is kept by itself
	write_conf one 'database = memory:'
	sed -i "s|^$key = .*|&.other|" "$d/one.conf"
	ok "SIGHUP: another $key" "$(reload one 'change with a restart only'; echo $?)" "$(cat "$d/one.log")"
	ok '... twice' "$(reload one 'change with a restart only'; echo $?)" "$(cat "$d/one.log")"
done
write_conf one 'database = host=elsewhere'
ok 'SIGHUP: memory stays memory' "$(reload one 'change with a restart only' && wait_for 5 says one 'reloaded'; echo $?)" "$(cat "$d/one.log")"
expect 'SIGHUP: still in memory' 0 '^database +memory' "$stint" --socket "$d/one.sock" status
end "$agent"
ok 'it stops after all that' "$ended" "$(cat "$d/one.log")"

conninfo=$("$pg_cluster" start "$tmp/db3" 2>/dev/null) || { echo "Bail out! no PostgreSQL"; exit 1; }
cleanups+=('"$pg_cluster" remove "$tmp/db3"')
STINT_DATABASE=$conninfo "$stint" db init >/dev/null
STINT_DATABASE=$conninfo "$stint" policy set api --max-requests 3 --time-window-ms 3600000

in_step() { "$stint" --socket "$d/base.sock" status | grep -qE '^database +[a-z]+, in step '; }
has_host() { STINT_DATABASE=$conninfo "$stint" db status | grep -q "^$1 "; }

write_conf base "database = $conninfo"
begin base
wait_for 10 in_step
expect 'before: a lease' 0 '^allowed by .*: 2 of 3 remaining' "$stint" --socket "$d/base.sock" check api a
psql=$("$pg_cluster" client psql)
# Somebody who holds the row from the first word that is read from $d/held until the pipe is closed.
mkfifo "$d/hold"
"$psql" -XAtq "$conninfo" <"$d/hold" >"$d/held" &
holder=$!
exec 8>"$d/hold"
echo "begin; select 'held' from stint.counter where client_id = 'a' for update;" >&8
wait_for 10 grep -q held "$d/held"
expect 'a row that somebody holds: denied' 1 '^denied' "$stint" --socket "$d/base.sock" check api a --cost 2
ok '... and the log says why' "$(wait_for 10 says base 'checks were denied because their clients. rows can.t be had'; echo $?)" "$(cat "$d/base.log")"
exec 8>&-
wait "$holder"
write_conf base "database = $conninfo" 'host = renamed'
sed -i '/^host = base/d' "$d/base.conf"
ok 'SIGHUP: another host name' "$(reload base 'reloaded' && wait_for 10 has_host renamed && wait_for 10 in_step; echo $?)" "$(cat "$d/base.log")"
# For a second after the row was held the client is denied without asking for it.
served() { "$stint" --socket "$d/base.sock" check api a >"$d/served"; }
ok 'after: what was spent stays spent' "$(wait_for 10 served && grep -q '^allowed by .*: 1 of 3 remaining' "$d/served"; echo $?)" "$(cat "$d/served")"
sed -i 's/^database = .*/database = host=127.0.0.1 port=1/' "$d/base.conf"
ok 'SIGHUP: a database that is not there' "$(reload base 'cannot reach the database'; echo $?)" "$(cat "$d/base.log")"
sed -i "s|^database = .*|database = $conninfo|" "$d/base.conf"
ok 'SIGHUP: and the old one again' "$(reload base 'reloaded' && wait_for 10 in_step; echo $?)" "$(cat "$d/base.log")"
expect 'again: what was spent stays spent' 0 '^allowed by .*: 0 of 3 remaining' "$stint" --socket "$d/base.sock" check api a
"$pg_cluster" pause "$tmp/db3" 2>/dev/null || true
kill -TERM "$agent"
sleep 0.2
end "$agent" # the second time it does not wait for the database
"$pg_cluster" resume "$tmp/db3" 2>/dev/null || true
ok 'SIGTERM twice: it ends at once' "$ended" "$(cat "$d/base.log")"

# ---- systemd -------------------------------------------------------------------------------

# The other end of NOTIFY_SOCKET: what arrives goes to $d/told.
perl -MSocket -e '
	$| = 1;
	socket($s, PF_UNIX, SOCK_DGRAM, 0) && bind($s, pack_sockaddr_un($ARGV[0])) || die "$!\n";
	while (defined recv($s, $message, 4096, 0)) { print "$message\n" }' "$d/notify" >"$d/told" &
listener=$!
cleanups+=("kill $listener 2>/dev/null")
wait_for 5 test -S "$d/notify"
told() { grep -qE "$1" "$d/told"; }

write_conf one 'database = memory:'
export NOTIFY_SOCKET=$d/notify WATCHDOG_USEC=200000
begin one
unset NOTIFY_SOCKET WATCHDOG_USEC
ok 'systemd: ready, and how it is' "$(wait_for 5 told '^READY=1' && wait_for 5 told '^STATUS=.+'; echo $?)" "$(cat "$d/told")"

# Six words more, before they must have come. A busy machine may be late with them: so this looks up to ten times.
heard() { [[ $(grep -c '^WATCHDOG=1' "$d/told") -ge $1 ]]; }
heard_in_time() {
	local had began_us
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		had=$(grep -c '^WATCHDOG=1' "$d/told") began_us=${EPOCHREALTIME/./}
		wait_for 10 heard $((had + 6)) || return 1
		[[ $((${EPOCHREALTIME/./} - began_us)) -ge 1000000 ]] || return 0
	done
	return 1
}
ok 'systemd: the watchdog hears from it, oftener than it must' "$(heard_in_time; echo $?)" "$(cat "$d/told")"
kill -HUP "$agent"
ok 'systemd: reloading' "$(wait_for 5 told '^RELOADING=1'; echo $?)" "$(cat "$d/told")"
end "$agent"
ok 'systemd: stopping' "$(wait_for 5 told '^STOPPING=1'; echo $?)" "$(cat "$d/told")"
kill "$listener"
wait "$listener" 2>/dev/null
