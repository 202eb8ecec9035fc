# `stint top`: with the real agent and its database, with either, with neither; and on a terminal.
# shellcheck shell=bash disable=SC2154

conninfo=$("$pg_cluster" start "$tmp/top-db" 2>/dev/null) || { echo "Bail out! no PostgreSQL: $("$pg_cluster" bindir 2>&1)"; exit 1; }
cleanups+=('"$pg_cluster" remove "$tmp/top-db"')
psql=$("$pg_cluster" client psql)
export STINT_DATABASE=$conninfo
"$stint" db init >/dev/null
start_agent top "$conninfo"
s=("$stint" --socket "$tmp/top/sock")
wait_for 20 database_is "$tmp/top/sock" 'in step'
"$stint" policy set api --max-requests 1000000 --time-window-ms 3600000 >/dev/null
"$stint" policy set login --max-requests 2 --time-window-ms 3600000 >/dev/null

# of EXPRESSION [LINE]: what perl makes of the JSON object $v in the line; 1 or 0 of what is true or not.
of() {
	# shellcheck disable=SC2016
	perl -MJSON::PP -e 'my $v = decode_json($ARGV[0]); binmode STDOUT, ":utf8"; print eval($ARGV[1]) // "undef"; die $@ if $@' \
		"${2:-$output}" "$1"
}
is_so() { ok "$1" "$([[ $(of "$2" "${3:-$output}") == 1 ]]; echo $?)" "$2: ${3:-$output}"; }

# Ids may hold anything but a NUL.
evil=$'evil\e[31mred\a' wide='日本語の利用者日本語の利用者日本語の利用者日本語の利用者'
"${s[@]}" check api "$evil" --cost 90000 >/dev/null
"${s[@]}" check api "$wide" --cost 80000 >/dev/null
# Somebody is at work all the time: on a slow machine, too, some checks fall between any two views.
cat >"$tmp/load.c" <<'END'
#include <unistd.h>
#include "stint.h"
int main(int argc, char **argv) {
	struct stint *stint;
	struct stint_limiter *api, *login;
	if (argc != 2 || stint_open(&stint, argv[1]) != 0 ||
	    stint_limiter_new(&api, stint, &(struct stint_options){.policy = "api", .must_exist = true}) != 0 ||
	    stint_limiter_new(&login, stint, &(struct stint_options){.policy = "login", .must_exist = true}) != 0)
		return 1;
	for (;;) {
		stint_is_allowed(api, "busy");
		stint_is_allowed(login, "mallory");
		usleep(20000);
	}
}
END
"${CC:-cc}" -D_GNU_SOURCE -Ilib -o "$tmp/load" "$tmp/load.c" "$build/libstint.a" ${LDFLAGS-} -pthread
"$tmp/load" "$tmp/top/sock" &
loader=$!
cleanups+=('kill $loader 2>/dev/null; wait $loader 2>/dev/null')

# ---- Once ----------------------------------------------------------------------------------

for value in 0 3601 -1 1.5 x ''; do
	expect "top --interval \"$value\"" 2 "--interval is \"$value\", must be a whole number from 1 to 3600" "${s[@]}" top "--interval=$value"
done
expect 'top --rows 1001' 2 '--rows is "1001", must be a whole number from 1 to 1000' "${s[@]}" top --rows 1001
expect 'top takes no argument' 2 'unexpected argument "api"' "${s[@]}" top api

expect 'where there is no terminal, it is as with --once' 0 '^decisions +[0-9]+\.[0-9]/s in the last [1-9][0-9]*\.[0-9] s: ' "${s[@]}" top --interval 1
# What is leased beyond the cost counts as used, too.
for line in '^time +20[0-9-]+T[0-9:.]+Z$' '^agent +[0-9.]+ on host top, process ' '^database +postgresql, in step for ' '^hosts +1 in step$' \
	'^ +[1-9][0-9.]* .* login( +[0-9.]+){5}$' '^ +[1-9][0-9.]* .* api( +[0-9.]+){5}$' \
	'^ *[0-9]{5,6} +1000000 +[0-9.]+ +.* api +evil\\x1b\[31mred\\x07$' "^ *[0-9]{5,6} .* api +$wide\$" '^ +2 +2 +100\.0 +.* login +mallory$'; do
	ok "... $line" "$(grep -qE "$line" <<<"$output"; echo $?)" "$output"
done
ok '... and sends no control characters' "$(! grep -q $'[\e\a]' <<<"$output"; echo $?)" "$output"

expect 'top --json, until the reader goes away' 0 '^\{"at":"20' bash -c 'set -o pipefail; "$@" | head -1' - "${s[@]}" top --json --interval 1 --rows 3
is_so '... the time between' '$v->{seconds} >= 1'
is_so '... the agent' '$v->{agent}{host} eq "top" && $v->{agent}{database}{state} eq "in step" && !exists $v->{agent}{counters}'
is_so '... no errors' '!defined $v->{agent_error} && !defined $v->{database_error}'
is_so '... each decision has an outcome and a source' '
	my $rounded = sub { abs($_[0]) < 0.01 };
	my @bad = grep { !$rounded->($_->{decisions} - $_->{allowed} - $_->{denied} - $_->{shadow_denied}) ||
		!$rounded->($_->{decisions} - $_->{lease} - $_->{database} - $_->{fallback} - $_->{local} - $_->{advance}) } @{$v->{decisions_per_second}};
	@{$v->{decisions_per_second}} == 2 && !@bad ? 1 : 0'
is_so '... who is denied' '(grep { $_->{policy} eq "login" && $_->{denied} > 0 && $_->{allowed} == 0 } @{$v->{decisions_per_second}}) == 1'
is_so '... the hosts' '$v->{hosts}[0]{state} eq "in step" && $v->{hosts}[0]{names}[0] eq "top"'
is_so '... an id as it is' '(grep { $_->{client_id} eq "evil\e[31mred\a" && $_->{used} >= 90000 && $_->{resets_in_ms} > 0 } @{$v->{clients}}) == 1'
is_so '... clients by use, and no more than were asked for' \
	'@{$v->{clients}} == 3 && join(" ", map { $_->{used} } @{$v->{clients}}) eq join(" ", sort { $b <=> $a } map { $_->{used} } @{$v->{clients}})'

# ---- One of them goes away, and comes back -------------------------------------------------------

# streams FILE: one view a second.
streams() {
	"${s[@]}" top --json --interval 1 >"$1" 2>&1 &
	streaming=$!
	cleanups+=("kill $streaming 2>/dev/null; wait $streaming 2>/dev/null")
}
# In lines behind the first so many.
has_line() { tail -n "+$(($2 + 1))" "$1" | grep -qE "$3"; }
lines_of() { wc -l <"$1"; }
agent_is_known='"seconds":[0-9]'

streams "$tmp/stream"
ok 'views come with rates' "$(wait_for 20 has_line "$tmp/stream" 0 "$agent_is_known"; echo $?)" "$(cat "$tmp/stream")"
stop_agent "$agent"
ok 'the agent is away: the rest goes on' "$(wait_for 20 has_line "$tmp/stream" 0 '"agent_error":"the agent at .*"clients":\[\{'; echo $?)" "$(cat "$tmp/stream")"
seen=$(lines_of "$tmp/stream")
start_agent top "$conninfo"
ok 'and back: with rates' "$(wait_for 20 has_line "$tmp/stream" "$seen" "$agent_is_known"; echo $?)" "$(cat "$tmp/stream")"
ok '... which were never negative' "$(! grep -qE ':-[0-9]' "$tmp/stream"; echo $?)" "$(cat "$tmp/stream")"
first_again=$(tail -n "+$((seen + 1))" "$tmp/stream" | grep -m1 '"agent":{')
is_so '... and not known at first' '!defined $v->{seconds} && !(grep { defined $_->{decisions} } @{$v->{decisions_per_second}}) ? 1 : 0' "$first_again"

# A backend that is stopped answers nothing, and its connection lives.
seen=$(lines_of "$tmp/stream")
# Between two views: it would be done with its transaction then.
find_backend() {
	backend=$("$psql" -XAtq "$conninfo" -c "select pid from pg_stat_activity where application_name = 'stint' and state = 'idle' and query = 'commit'")
	[[ $backend =~ ^[0-9]+$ ]]
}
backend=''
wait_for 20 find_backend
ok 'it keeps one connection' $? "$backend"
[[ ! $backend =~ ^[0-9]+$ ]] || kill -STOP "$backend"
ok 'the database hangs: the rest goes on' "$(wait_for 30 has_line "$tmp/stream" "$seen" "$agent_is_known.*\"database_error\":\"can't be read: no answer in time\""; echo $?)" \
	"$(cat "$tmp/stream")"
[[ ! $backend =~ ^[0-9]+$ ]] || kill -CONT "$backend"
seen=$(lines_of "$tmp/stream")
ok 'it is asked again' "$(wait_for 30 has_line "$tmp/stream" "$seen" '"database_error":null.*"clients":\[\{'; echo $?)" "$(cat "$tmp/stream")"
kill "$streaming"
wait "$streaming" 2>/dev/null

# ---- On a terminal --------------------------------------------------------------------------------

leave=$'\e[?25h\e[?1049l'
# on_terminal NAME [FRAMES]: runs it there, and waits for so many frames; until somebody types to descriptor 7, or ends the process in $tmp/live/pid.
on_terminal() {
	rm -rf "$tmp/live"
	mkdir "$tmp/live"
	mkfifo "$tmp/live/keys"
	cat >"$tmp/live/run" <<-END
		trap : INT TERM TSTP
		cd '$tmp/live' && tty >tty && stty rows 14 cols 60 && stty -g >before
		sh -c 'echo \$\$ >pid; exec "\$@"' - "$stint" --socket '$tmp/top/sock' top --interval 1
		echo \$? >status.new
		stty -g >after
		mv status.new status
	END
	TERM=xterm timeout 120 script -qfc "sh $tmp/live/run" "$tmp/live/screen" <"$tmp/live/keys" >/dev/null 2>&1 &
	terminal=$!
	exec 7>"$tmp/live/keys"
	ok "$1: it draws" "$(wait_for 30 frames "${2:-1}"; echo $?)" "$(cat -v "$tmp/live/screen")"
}
frames() { [[ $(grep -c $'\e\\[H' "$tmp/live/screen") -ge $1 ]]; }
is_stopped() { grep -q '^State:.T' "/proc/$(cat "$tmp/live/pid")/status"; }
quits() {
	kill -CONT "$(cat "$tmp/live/pid")" 2>/dev/null
	(printf q >&7) 2>/dev/null # nobody may read it any more
	test -e "$tmp/live/status"
}
is_gone() { ! kill -0 "$(cat "$tmp/live/pid")" 2>/dev/null; }
# ended STATUS: and the terminal is as it was, on its own page, with its cursor.
ended() {
	wait_for 20 test -e "$tmp/live/status"
	exec 7>&-
	wait "$terminal" 2>/dev/null
	ok "... ends with $1" "$([[ $(cat "$tmp/live/status" 2>&1) == "$1" ]]; echo $?)" "$(cat "$tmp/live/status" 2>&1)"
	ok "... the terminal's settings are back" "$([[ -s $tmp/live/after ]] && cmp "$tmp/live/before" "$tmp/live/after"; echo $?)" "$(cat "$tmp/live"/{before,after} 2>&1)"
	ok '... and its page and cursor' "$(perl -0777 -ne 'exit !(/\e\[\?1049h\e\[\?25l/ && /\e\[\?25h\e\[\?1049l[^\e]*\z/)' "$tmp/live/screen"; echo $?)" "$(cat -v "$tmp/live/screen")"
}
# fits LINES COLUMNS: the last whole frame. Ideographs take two columns.
fits() {
	perl -CSD -0777 -ne '
		my @frames = split /\e\[H/; my $frame = $frames[-2];
		$frame =~ s/\e\[[KJ]//g;
		my @lines = split /\r+\n/, $frame;
		my $wide = () = map { (my $l = $_) =~ s/[\x{3000}-\x{9fff}]/xx/g; length($l) >= '"$2"' ? 1 : () } @lines;
		exit(@lines > '"$1"' || $wide > 0 || @lines < 3)' "$tmp/live/screen"
}

if ! command -v script >/dev/null; then
	ok 'on a terminal # SKIP there is no script(1)' 0
else
	on_terminal 'q' 3
	ok '... on as many lines and columns as there are' "$(fits 14 60; echo $?)" "$(cat -v "$tmp/live/screen")"
	ok '... with what it is about' "$(grep -q 'total/s  allowed' "$tmp/live/screen" && grep -q 'in step' "$tmp/live/screen"; echo $?)" "$(cat -v "$tmp/live/screen")"
	ok '... what is cut is marked' "$(grep -qE '>.\[K' "$tmp/live/screen"; echo $?)" "$(cat -v "$tmp/live/screen")"
	stty -F "$(cat "$tmp/live/tty")" rows 30 cols 110
	ok '... a larger window shows more' "$(wait_for 20 grep -q 'api     evil.x1b.31mred.x07' "$tmp/live/screen"; echo $?)" "$(cat -v "$tmp/live/screen")"
	ok "... never what an id would do to the terminal" "$(! grep -q $'\e\\[31m\|\a' "$tmp/live/screen"; echo $?)" "$(cat -v "$tmp/live/screen")"
	stty -F "$(cat "$tmp/live/tty")" rows 6 cols 20
	ok '... a small one what fits' "$(wait_for 20 fits 6 20; echo $?)" "$(cat -v "$tmp/live/screen")"
	printf '\032' >&7
	ok '... Ctrl-Z gives the terminal back' "$(wait_for 20 is_stopped && [[ $(stty -F "$(cat "$tmp/live/tty")" -g) == "$(cat "$tmp/live/before")" ]]; echo $?)" \
		"$(cat "$tmp/live/before"; stty -F "$(cat "$tmp/live/tty")" -g)"
	seen=$(grep -c $'\e\\[H' "$tmp/live/screen")
	kill -CONT "$(cat "$tmp/live/pid")"
	ok '... and afterwards it goes on' "$(wait_for 20 frames $((seen + 1)) && [[ $(grep -o '.\[?1049h' "$tmp/live/screen" | wc -l) == 2 ]]; echo $?)" "$(cat -v "$tmp/live/screen")"
	printf 'xq' >&7
	ended 0
	on_terminal 'SIGTERM'
	kill -TERM "$(cat "$tmp/live/pid")"
	ended 143
	on_terminal 'Ctrl-C'
	printf '\003' >&7
	ended 130
	# It heeds a key first, and then is stopped.
	on_terminal 'Ctrl-Z and q, while it waits for the agent'
	kill -STOP "$agent"
	sleep 1.5
	printf '\032q' >&7
	wait_for 20 is_stopped
	kill -CONT "$agent"
	wait_for 20 quits
	ended 0
	on_terminal 'its window is closed while it is stopped'
	printf '\032' >&7
	wait_for 20 is_stopped
	kill -KILL "$(cat "/proc/$terminal/task/$terminal/children")"
	wait "$terminal" 2>/dev/null
	exec 7>&-
	ok '... ends, too' "$(wait_for 20 is_gone; echo $?)" "$(cat "/proc/$(cat "$tmp/live/pid")/status" 2>&1)"
	is_gone || kill -KILL "$(cat "$tmp/live/pid")"
	on_terminal 'the agent and the database go away'
fi

# ---- With one of them, with neither ----------------------------------------------------------------

"$pg_cluster" stop "$tmp/top-db"
wait_for 20 database_is "$tmp/top/sock" fallback
expect 'the database is away: the rest is there' 0 "^clients +can't connect: " "${s[@]}" top --once --interval 1
ok '... the agent says so, too' "$(grep -qE '^database +postgresql, fallback for ' <<<"$output"; echo $?)" "$output"
ok '... with rates' "$(grep -qE '^ +[1-9][0-9.]* .* api( +[0-9.]+){5}$' <<<"$output"; echo $?)" "$output"
expect '... in JSON: one line' 0 "\"database_error\":\"can't connect: .*\"hosts\":null,\"clients\":null" "${s[@]}" top --once --json --interval 1
ok '... and no more' "$([[ $(wc -l <<<"$output") == 1 ]]; echo $?)" "$output"
expect '... of which nothing is known' 0 "^clients +can't connect: .*; name it: --database, or .STINT_DATABASE\$" env -u STINT_DATABASE PGHOST=/nowhere "${s[@]}" top --once --interval 1
kill "$loader"
wait "$loader" 2>/dev/null
stop_agent "$agent"
expect 'neither is there' 3 '^stint top: the agent at .*/top/sock is out of reach: ' "${s[@]}" top --once
ok '... both are told' "$(grep -q "^stint top: the database: can't connect: " <<<"$output"; echo $?)" "$output"
expect 'neither is there, in JSON' 3 '^stint top: the agent at ' "${s[@]}" top --json
if command -v script >/dev/null; then
	ok 'on a terminal it goes on without both' "$(wait_for 20 grep -q "clients   can't connect" "$tmp/live/screen" && wait_for 20 grep -q 'agent     the agent at' "$tmp/live/screen"; echo $?)" \
		"$(cat -v "$tmp/live/screen")"
	printf q >&7
	ended 0
	TERM=xterm script -qec "$stint --socket $tmp/nobody top" "$tmp/refused-screen" </dev/null >/dev/null 2>&1
	ok 'neither is there, on a terminal' "$([[ $? == 3 ]] && ! grep -q $'\e' "$tmp/refused-screen"; echo $?)" "$(cat -v "$tmp/refused-screen")"
fi
"$pg_cluster" start "$tmp/top-db" >/dev/null 2>&1
began=$SECONDS
expect 'the agent is away: clients are there at once' 0 '^agent +the agent at .*/top/sock is out of reach: ' "${s[@]}" top --once --interval 3600
ok '... those who use most' "$(grep -qE '^ *[0-9]{5,6} +1000000 ' <<<"$output" && [[ $((SECONDS - began)) -lt 60 ]]; echo $?)" "$output"
"$psql" -XAtq "$conninfo" -c 'create role nobody login' >/dev/null
expect 'no right to look' 3 "^stint top: the database: can't be read: permission denied .*; this needs the role stint_auditor\$" \
	"${s[@]}" --database "${conninfo/user=postgres/user=nobody}" top
expect 'to a full disk' 5 'No space left' bash -c '"$@" >/dev/full' - "${s[@]}" top
expect 'to a full disk, in JSON' 5 'No space left' bash -c '"$@" >/dev/full' - "${s[@]}" top --json --interval 1
unset STINT_DATABASE

start_agent top-memory memory:
expect 'an agent without a database' 0 '^database +memory: none' "$stint" --socket "$tmp/top-memory/sock" top --once --interval 1
ok '... of which nothing is shown' "$(! grep -qE '^(clients|hosts)|client_id' <<<"$output"; echo $?)" "$output"
stop_agent "$agent"
