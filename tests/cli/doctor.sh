# `stint doctor`, beside what the other groups ask it: libraries of several versions on one host, and poolers.
# shellcheck shell=bash disable=SC2154

conninfo=$("$pg_cluster" start "$tmp/doctor-db" 2>/dev/null) || { echo "Bail out! no PostgreSQL: $("$pg_cluster" bindir 2>&1)"; exit 1; }
cleanups+=('"$pg_cluster" remove "$tmp/doctor-db"')
export STINT_DATABASE=$conninfo
"$stint" db init >/dev/null
start_agent doctor "$conninfo"
s=("$stint" --socket "$tmp/doctor/sock")
wait_for 20 database_is "$tmp/doctor/sock" 'in step'
"$stint" policy set api --max-requests 5 --time-window-ms 60000 >/dev/null

# finds NAME LINE: among what the last one has found.
finds() { ok "$1" "$(grep -qE "$2" <<<"$output"; echo $?)" "wanted /$2/: $output"; }

# ---- Libraries -----------------------------------------------------------------------------

# with_mark FILE CHANGE: the file with another version in it, or without the mark; $mark and $version can be changed.
with_mark() {
	perl -0777 -pi -e 'BEGIN { $count = 0 }
		s/(\@\(#\)libstint )([0-9.]+)(?=\0)/my ($mark, $version) = ($1, $2); '"$2"'; $count++; $mark . $version/ge;
		END { $count == 1 or die "$count marks" }' "$1"
}
# shellcheck disable=SC2016
other='$version =~ tr{0-9}{9}' none='$mark =~ tr{#}{-}'
own=$("$stint" --version | cut -d' ' -f2)
wrong=${own//[0-9]/9}
mkdir "$tmp/other" "$tmp/none"
cp "$build/libstint.so" "$tmp/other/"
cp "$build/libstint.so" "$tmp/none/"
with_mark "$tmp/other/libstint.so" "$other"
with_mark "$tmp/none/libstint.so" "$none"

cat >"$tmp/linked.c" <<'END'
#include <stdio.h>
#include <unistd.h>
#include "stint.h"
int main(int argc, char **argv) {
	struct stint *stint;
	struct stint_limiter *api;
	if (argc != 2 || stint_open(&stint, argv[1]) != 0 ||
	    stint_limiter_new(&api, stint, &(struct stint_options){.policy = "api", .must_exist = true}) != 0 || !stint_is_allowed(api, "anna"))
		return 1;
	puts("ready");
	fflush(stdout);
	alarm(600);
	pause();
}
END
"${CC:-cc}" -Ilib -o "$tmp/linked" "$tmp/linked.c" "$build/libstint.a" ${LDFLAGS-} -pthread
with_mark "$tmp/linked" "$other"

# keeps COMMAND...: runs it until the tests are over. Its process is $kept.
keeps() {
	"$@" &
	kept=$!
	cleanups+=("kill $kept 2>/dev/null; wait $kept 2>/dev/null")
}
keeps env LD_PRELOAD="$build/libstint.so" sleep 600
keeps env LD_PRELOAD="$tmp/other/libstint.so" sleep 600
preloaded=$kept
keeps env LD_PRELOAD="$tmp/none/libstint.so" sleep 600
keeps "$tmp/linked" "$tmp/doctor/sock" >"$tmp/linked.log"
linked=$kept
ok 'an app with the library in it is attached' "$(wait_for 20 grep -q ready "$tmp/linked.log"; echo $?)"
expect 'it is the only one: commands that look are none' 0 'apps connected: 1$' "${s[@]}" status
expect '... by the metrics, too' 0 '^stint_attached_processes 1$' "${s[@]}" metrics
mapped() { grep -q libstint.so "/proc/$preloaded/maps" && grep -q libstint.so "/proc/$kept/maps"; }
keeps env LD_PRELOAD="$tmp/other/libstint.so" sleep 600
wait_for 20 mapped

expect 'doctor: libraries of other versions' 0 "^warning +library versions +the agent is $own; " "${s[@]}" doctor
finds '... with their processes, by whatever way they have it' "^warning .*[: ]$wrong in 3:( ($preloaded|$linked|$kept)){3}(;|\$)"
finds '... those of none' '^warning .*[: ]older in [1-9][0-9]*:( [0-9]+)+'
finds '... those of its own are counted' "^warning .*[: ]$own in [1-9][0-9]*(;|\$)"
finds '... what to do' '^warning +library versions .*; restart these apps; update the library before'
ok "... the agent isn't one of them" "$(! grep -E '^[a-z]+ +librar' <<<"$output" | grep -qw "$agent"; echo $?)" "$output"
# Who may, sees it when the file is gone, too.
if [[ $(id -u) == 0 ]]; then
	rm "$tmp/other/libstint.so"
	expect 'doctor: a library that was replaced' 0 "^warning .* have one that was replaced since:.* $preloaded( |\$)" "${s[@]}" doctor
	finds '... has its version still' "^warning .*[: ]$wrong in 3:( ($preloaded|$linked|$kept)){3}(;|\$)"
fi
expect 'doctor: without an agent the command tells' 1 "^warning +library versions +this command is $own; " "$stint" --socket "$tmp/nobody" doctor

# ---- Poolers --------------------------------------------------------------------------------

pgbouncer=$(PATH=$PATH:/usr/sbin command -v pgbouncer)
if [[ -z $pgbouncer ]]; then
	ok 'doctor: poolers # SKIP there is no pgbouncer' 0
	stop_agent "$agent"
	unset STINT_DATABASE
	return
fi

# start_pooler MODE [SETTING...]: of this name; its connection string is $pooled.
start_pooler() {
	local dir=$tmp/pool-$1-$# as=()
	mkdir "$dir"
	printf '"postgres" ""\n' >"$dir/users"
	printf '%s\n' '[databases]' "stint = ${conninfo% user=*}" '[pgbouncer]' "unix_socket_dir = $dir" 'listen_port = 6432' \
		'auth_type = trust' "auth_file = $dir/users" "pool_mode = $1" "${@:2}" >"$dir/ini"
	if [[ $(id -u) == 0 ]]; then
		chown nobody "$dir"
		chmod a+x "$tmp"
		as=(-u nobody)
	fi
	"$pgbouncer" "${as[@]}" "$dir/ini" >"$dir/log" 2>&1 &
	cleanups+=("kill $! 2>/dev/null; wait $! 2>/dev/null")
	pooled="host=$dir port=6432 dbname=stint user=postgres"
	wait_for 20 "$("$pg_cluster" client psql)" -XAtqc 'select 1' "$pooled" || sed 's/^/#   /' "$dir/log"
}

# agent_is NAME DATABASE POOLER: another agent.
agent_is() {
	STINT_DATABASE=$2 STINT_POOLER=$3 start_agent "$1" "$2"
	s=("$stint" --socket "$tmp/$1/sock")
}

expect 'doctor: no pooler' 0 '^ok +pooler +none between here and the server$' "${s[@]}" doctor
stop_agent "$agent"

start_pooler transaction
transaction=$pooled
agent_is pooled-right "$transaction" transaction
wait_for 20 database_is "$tmp/pooled-right/sock" 'in step'
expect 'doctor: a pooler in transaction mode, and the agent knows' 0 \
	'^ok +pooler +there is one between here and the server, in transaction mode; pooler = transaction, says ' "${s[@]}" --database "$transaction" doctor
stop_agent "$agent"

agent_is direct-wrong "$conninfo" transaction
wait_for 20 database_is "$tmp/direct-wrong/sock" 'in step'
expect "doctor: the agent is told of a pooler that isn't there" 0 \
	'^warning +pooler +pooler = transaction, says .*, and there is none between it and the server; take pooler = transaction out of ' "${s[@]}" doctor
stop_agent "$agent"

agent_is direct-right "$conninfo" none
wait_for 20 database_is "$tmp/direct-right/sock" 'in step'
expect 'doctor: a pooler in transaction mode, by which the agent does not go' 0 \
	'^ok +pooler +there is one between here and the server, and none between the agent and the server$' "${s[@]}" --database "$transaction" doctor
stop_agent "$agent"

# The agent may be in trouble then, or not yet.
start_pooler transaction 'default_pool_size = 1'
single=$pooled
agent_is pooled-wrong "$single" none
output=$("${s[@]}" --database "$transaction" doctor 2>&1)
finds 'doctor: a pooler in transaction mode, and the agent does not know' \
	'^warning +pooler +there is one .*, in transaction mode; pooler = none, says .*; set pooler = transaction in '
stop_agent "$agent"
expect '... with a single connection to the server' 1 '^warning +pooler +there is one between here and the server, in transaction mode; set pooler' \
	"$stint" --socket "$tmp/nobody" --database "$single" doctor
start_pooler transaction 'server_round_robin = 1' 'default_pool_size = 5'
expect '... that takes its connections by turns' 1 '^warning +pooler +there is one between here and the server, in transaction mode; set pooler' \
	"$stint" --socket "$tmp/nobody" --database "$pooled" doctor

start_pooler session
agent_is session-wrong "$pooled" transaction
wait_for 20 database_is "$tmp/session-wrong/sock" 'in step'
expect 'doctor: a pooler in session mode, and the agent takes it for another' 0 \
	'^warning +pooler +there is one .*, in session mode; pooler = transaction, says .*; take pooler = transaction out of ' "${s[@]}" --database "$pooled" doctor
stop_agent "$agent"
agent_is session-right "$pooled" none
wait_for 20 database_is "$tmp/session-right/sock" 'in step'
expect 'doctor: a pooler in session mode' 0 '^ok +pooler +there is one .*, in session mode; pooler = none, says ' "${s[@]}" --database "$pooled" doctor
stop_agent "$agent"
start_pooler statement
expect 'doctor: a pooler in statement mode' 1 '^error +pooler +there is one .*, in statement mode; agents need it in session or transaction mode' \
	"$stint" --socket "$tmp/nobody" --database "$pooled" doctor
unset STINT_DATABASE
