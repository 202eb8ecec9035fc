# tap.sh - for tests that are shell scripts: source it, `check` this and that, and end with `check_done`. Speaks TAP.
# shellcheck shell=bash

tests=0 failures=0

# check NAME COMMAND...: one test, passed when the command succeeds.
check() {
	local name=$1 said
	shift
	tests=$((tests + 1))
	if said=$("$@" 2>&1); then
		echo "ok $tests - $name"
		return 0
	fi
	failures=$((failures + 1))
	echo "not ok $tests - $name"
	printf '%s\n' "\$ $*" "$said" | sed 's/^/# /'
}

# The last command of a script: its status is the script's.
check_done() {
	echo "1..$tests"
	[[ $failures -eq 0 ]]
}

# within SECONDS COMMAND...: retries until it succeeds.
within() {
	local limit=$1 deadline=$((SECONDS + $1)) said
	shift
	until said=$("$@" 2>&1); do
		[[ $SECONDS -lt $deadline ]] || { printf 'not within %s s: %s\n%s\n' "$limit" "$*" "$said"; return 1; }
		sleep 0.1
	done
}

is() { [[ $1 == "$2" ]] || { echo "is \"$1\", should be \"$2\""; return 1; }; }
is_not() { [[ $1 != "$2" ]] || { echo "is still \"$1\""; return 1; }; }
is_less() { [[ $1 -lt $2 ]] || { echo "is $1, should be less than $2"; return 1; }; }
matches() { [[ $1 =~ $2 ]] || { echo "\"$1\" does not match $2"; return 1; }; }
exits() { local want=$1 got=0; shift; "$@" || got=$?; is "exit $got" "exit $want"; }
