# agent.sh - for these tests, which source it: an agent of the test's own, beside the one that may run here.
# shellcheck shell=sh
set -eu
tmp=${AUTOPKGTEST_TMP:-$(mktemp -d)}

fail() {
	echo "$*" >&2
	exit 1
}

# start_agent DATABASE: its output is in $tmp/agent.log. It ends with the test.
start_agent() {
	export STINT_SOCKET="$tmp/agent.sock" STINT_SHM="/stint-test-$$"
	STINT_DATABASE=$1 STINT_MAX_CLIENTS=1000 stintd -c /dev/null 2>"$tmp/agent.log" &
	agent=$!
	trap 'kill "$agent" 2>/dev/null; wait "$agent" || true; rm -f /dev/shm/stint-test-$$*' EXIT
	tries=0
	until [ -S "$STINT_SOCKET" ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 300 ] && kill -0 "$agent" || fail "no agent: $(cat "$tmp/agent.log")"
		sleep 0.1
	done
}
