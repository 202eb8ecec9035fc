# What the command says without anybody to talk to.
# shellcheck shell=bash disable=SC2154

s=("$stint" --socket "$tmp/nobody" --database "host=$tmp dbname=none")

expect 'no command: usage' 2 '^Usage: stint ' "$stint"
expect '--help' 0 'Exit codes' "$stint" --help
expect '-h' 0 '^Usage: stint ' "$stint" -h
expect '--version' 0 '^stint [0-9]+\.[0-9]+\.[0-9]+$' "$stint" --version
for command in check status top metrics doctor 'policy set' 'policy list' 'policy history' 'policy unpin' 'policy drop' 'client block' \
	'audit policies' 'audit clients' 'audit client' 'audit shadows' 'client limit' 'client unblock' 'client show' 'client list' 'client clear' 'client reset' 'db init' 'db migrate' 'db status' 'db sql' policy client audit db; do
	# shellcheck disable=SC2086
	expect "$command --help" 0 "^Usage: stint $command" "$stint" $command --help
done
shows() { ok "$1" "$(grep -qxF -- "$2" <<<"$output"; echo $?)" "$output"; }
expect 'help of a command' 0 '^  --cost N ' "$stint" check --help
shows '... how it is used' 'Usage: stint check POLICY CLIENT [--cost N] [--json]'
shows '... what it does' 'Ask for an admission, and take it.'
shows '... what all take' '  --version        the version'
shows '... how all end' '  3  the agent is out of reach'
ok '... and no commands below it' "$(! grep -q '^Commands' <<<"$output"; echo $?)" "$output"
expect 'help of a group' 0 '^  history  show who changed what, and when$' "$stint" policy --help
shows '... is headed' 'Commands'
ok '... shows all' "$([[ $(grep -cE '^  (set|list|history|unpin|drop) +[a-z]' <<<"$output") == 5 ]]; echo $?)" "$output"
expect 'help of a command without options' 0 '^Usage: stint db init$' "$stint" db init -h
expect 'help of a command that says it all in a line' 0 '^Show all policies\.$' "$stint" policy list --help
shows '... and goes on with what all take' 'Everywhere'
expect '--version of a command' 0 '^stint [0-9]+\.[0-9]+\.[0-9]+$' "$stint" policy list --version
expect '--version of a group' 0 '^stint [0-9]+\.[0-9]+\.[0-9]+$' "$stint" db --version
expect '--help wins over wrong options' 0 '^Usage: stint check' "$stint" check --cost x --help

expect 'unknown command' 2 'unknown command "chekc"; did you mean "check"\?$' "$stint" chekc
expect 'unknown subcommand, nearly right' 2 'stint policy: unknown command "histry"; did you mean "history"\?$' "$stint" policy histry
expect 'unknown option, nearly right' 2 'unknown option "--cots"; did you mean "--cost"\?$' "${s[@]}" check api a --cots=2
expect 'unknown option, nearly one that all take' 2 'unknown option "--databse"; did you mean "--database"\?$' "${s[@]}" policy list --databse x
expect 'unknown subcommand' 2 'stint db: unknown command "drop"' "$stint" db drop
expect 'a group alone' 2 '^Usage: stint policy ' "$stint" policy
expect 'unknown option' 2 'unknown option "--cots"' "${s[@]}" check api a --cots 2
expect 'unknown option in front' 2 'unknown option "--sockets"' "$stint" --sockets x status
for command in 'policy list' 'policy history' 'policy unpin a' 'policy drop a' 'client list' 'client block a b' 'client limit a b' \
	'client clear a b' 'client reset a b' 'db init' 'db migrate' 'db status' 'db sql' status top doctor; do
	# shellcheck disable=SC2086
	expect "$command --nonsense" 2 'unknown option "--nonsense"' "${s[@]}" $command --nonsense
done
expect 'an unknown option with a value' 2 'unknown option "--nonsense"$' "${s[@]}" policy list --nonsense=5
expect 'a setting without its value' 2 '^stint: --socket needs a value$' "$stint" --socket
expect 'a setting without its value, behind' 2 '^stint status: --socket needs a value$' "$stint" status --socket
expect 'a setting that is empty' 3 'agent at .* is out of reach' "$stint" --socket= status
expect 'a setting between' 4 '/nowhere/between' "$stint" policy --database=host=/nowhere/between list
expect 'a setting behind' 3 'agent at /nowhere/behind is out of reach' "$stint" check a b --socket /nowhere/behind
expect 'the last one holds' 3 'agent at /nowhere/last is out of reach' "${s[@]}" status --socket /nowhere/first --socket /nowhere/last
expect 'a dash is a word' 3 'out of reach' "${s[@]}" check - -
expect 'so are two dashes behind two' 3 'out of reach' "${s[@]}" check -- -- a
expect 'an abbreviation is unknown' 2 'unknown option "--cos"' "${s[@]}" check api a --cos 2
expect 'unknown short option' 2 'unknown option "-x".*put --' "${s[@]}" check api -x
expect 'an option without its value' 2 '--cost needs a value' "${s[@]}" check api a --cost
expect 'an option in the place of a value' 2 '--cost needs a value' "${s[@]}" check api a --cost --json
expect 'a flag with a value' 2 '--json takes no value' "${s[@]}" check api a --json=yes
expect 'an argument is missing' 2 '^stint check: CLIENT is missing$' "${s[@]}" check api
expect 'arguments are missing' 2 '^stint check: POLICY CLIENT are missing$' "${s[@]}" check
expect 'the only argument is missing' 2 '^stint policy drop: NAME is missing$' "${s[@]}" policy drop
expect 'an argument too many' 2 'unexpected argument "c"' "${s[@]}" check api b c
expect 'a hint follows' 2 'Try "stint check --help"' "${s[@]}" check api

for value in 0 -1 1000000001 9223372036854775807 9223372036854775808 1e3 0x10 ' 1' +1 '' 1.0 -; do
	expect "check --cost \"$value\"" 2 "--cost is \"${value/+/\\+}\", must be a whole number from 1 to 1000000000" \
		"${s[@]}" check api a "--cost=$value"
done

set_policy=("${s[@]}" policy set)
expect 'policy set without an option' 2 'what to set\? There is no option$' "${set_policy[@]}" api
expect 'policy set, both --shadow and --no-shadow' 2 '--shadow and --no-shadow exclude one another' "${set_policy[@]}" api --shadow --no-shadow
while read -r option value range; do
	expect "policy set --$option $value" 2 "--$option is \"$value\", must be a whole number from $range" \
		"${set_policy[@]}" api --max-requests 1 --time-window-ms 1000 "--$option" "$value"
done <<-'END'
	max-requests 0 1 to 1000000000
	max-requests 1000000001 1 to 1000000000
	max-requests -5 1 to 1000000000
	time-window-ms 99 100 to 2678400000
	time-window-ms 2678400001 100 to 2678400000
	fallback-max-requests 0 1 to 2000000000
	fallback-max-requests 2000000001 1 to 2000000000
	fallback-time-window-ms 99 100 to 2678400000
	resolution 0 1 to 60
	resolution 61 1 to 60
END
expect 'policy set --algorithm' 2 '--algorithm is "leaky", must be sliding_window or fixed_window' \
	"${set_policy[@]}" api --max-requests 1 --time-window-ms 1000 --algorithm leaky
expect 'policy set --mode' 2 '--mode is "lax", must be strict or relaxed' \
	"${set_policy[@]}" api --max-requests 1 --time-window-ms 1000 --mode lax
expect 'sub-windows too short' 2 'is 5, must be at least 10' \
	"${set_policy[@]}" api --max-requests 1 --time-window-ms 100 --resolution 20
long=$(printf '%064d' 0)
for name in '' 'a b' "a'b" 'ä' "$long"; do
	expect "policy name \"$name\"" 2 'must be 1 to 63 bytes of \[A-Za-z0-9_.:/-\]' \
		"${set_policy[@]}" "$name" --max-requests 1 --time-window-ms 1000
done
expect 'policy history of a name that is none' 2 'must be 1 to 63 bytes' "${s[@]}" policy history 'a b'
expect 'policy unpin of a name that is none' 2 'must be 1 to 63 bytes' "${s[@]}" policy unpin 'a b'
for command in block unblock clear reset show 'limit --max-requests 1'; do
	# shellcheck disable=SC2086
	expect "client $command: a policy that is none" 2 'the policy.s name is "a b" \(3 bytes\), must be 1 to 63 bytes' "${s[@]}" client $command 'a b' c
done
expect 'client list of a policy that is none' 2 'must be 1 to 63 bytes' "${s[@]}" client list 'a b'
expect 'client list of two policies' 2 'unexpected argument "b"' "${s[@]}" client list a b
expect 'an empty client id' 2 'the client.s id is "" \(0 bytes\), must be 1 to 255 bytes' "${s[@]}" client block api ''
expect 'a client id of 256 bytes' 2 '\(256 bytes\), must be 1 to 255 bytes' "${s[@]}" client block api "$(printf '%0256d' 0)"
expect 'a client id that is not UTF-8' 2 'the client.s id is "ab\\xffc", which is not UTF-8 from byte 3 on$' "${s[@]}" client block api $'ab\xffc'
for command in block 'limit --max-requests 1'; do
	# shellcheck disable=SC2086
	expect "client $command: a note that is too long" 2 '--note is ".*" \(1001 bytes\), must be 0 to 1000 bytes of UTF-8$' \
		"${s[@]}" client $command api a --note "$(printf '%01001d' 0)"
done
expect 'client block: a note that is not UTF-8' 2 '--note is "\\xff", which is not UTF-8 from byte 1 on$' "${s[@]}" client block api a --note $'\xff'
expect 'check of a policy that is none' 2 'the policy.s name is "a b" \(3 bytes\), must be 1 to 63 bytes' "${s[@]}" check 'a b' c
expect 'check of an empty client id' 2 'the client.s id is "" \(0 bytes\), must be 1 to 255 bytes' "${s[@]}" check api ''
expect 'client limit without a limit' 2 '--max-requests is required' "${s[@]}" client limit api a
for duration in '' 10 m 10x 10M 1.5h -1m +1m ' 1m' 10mm 0s 31536001s 366d 99999999999999999999d; do
	for command in block 'limit --max-requests 1'; do
		# shellcheck disable=SC2086
		expect "client $command --for \"$duration\"" 2 \
			"--for is \"${duration/+/\\+}\", must be a whole number of s, m, h or d, such as 10m, from 1s to 365d" "${s[@]}" client $command api a "--for=$duration"
	done
done
for duration in '' 10 59s 31d 2592001s 99999999999999999999d; do
	expect "audit policies --last \"$duration\"" 2 "--last is \"$duration\", must be a whole number of s, m, h or d, such as 10m, from 1m to 30d" \
		"${s[@]}" audit policies "--last=$duration"
done
# One of the last 30 days, written with a blank.
fifth=$(date -u -d "$(date -u -d '4 days ago' +%Y-%m-05)" '+%Y-%m-%e')
for day in '' yesterday "$fifth" 2026-2-3 2026-02-30 2026-13-01 2020-01-01 2026-11-28x "$(date -u -d tomorrow +%F)" "$(date -u -d '31 days ago' +%F)"; do
	expect "audit shadows --day \"$day\"" 2 "--day is \"$day\", must be a day such as 2026-11-28: today, by UTC, or one of the 30 days before" \
		"${s[@]}" audit shadows --day "$day"
done
expect 'audit client: --last and --day' 2 '--last and --day exclude one another' "${s[@]}" audit client api a --last 1h --day 2026-11-28
expect 'audit clients: none' 2 '--top is "0", must be a whole number from 1 to 10000' "${s[@]}" audit clients --top 0
expect 'audit clients: a policy that is none' 2 'must be 1 to 63 bytes' "${s[@]}" audit clients 'a b'
expect 'audit client: an id that is none' 2 'must be 1 to 255 bytes' "${s[@]}" audit client api ''
expect 'audit: no database' 4 "can't connect" "${s[@]}" audit policies
expect 'control characters are escaped' 2 'unknown command "a\\x1b\[31m"' "$stint" $'a\e[31m'

expect 'check: no agent' 3 'agent at .*/nobody is out of reach: No such file' "${s[@]}" check api a
expect 'status: no agent' 3 'agent at .*/nobody is out of reach: No such file' "${s[@]}" status
expect 'doctor: nothing is there' 1 '^error +socket +.*/nobody: No such file or directory; start the agent: systemctl start stintd$' "${s[@]}" doctor
ok '... nor a database' "$(grep -qE "^error +database +can't connect: " <<<"$output"; echo $?)" "$output"
expect 'doctor --json' 1 '"remedy": "start the agent: systemctl start stintd"' "${s[@]}" doctor --json
: >"$tmp/file"
expect 'doctor: no socket' 1 '^error +socket +.*/file is no socket; name ' "$stint" --socket "$tmp/file" doctor
expect '$STINT_SOCKET is heeded' 3 'agent at /nowhere/else is out of reach' env STINT_SOCKET=/nowhere/else "$stint" status
expect 'a path too long' 3 'the path is [0-9]+ bytes, must be 1 to 107' "$stint" --socket "/$long/$long" status
expect 'check: a path too long' 2 'must have 1 to 107' "$stint" --socket "/$long/$long" check a b
path=/$(printf '%0106d' 0)
expect 'the longest path' 3 "agent at $path is out of reach: No such file" "$stint" --socket "$path" status
expect 'a byte more' 3 'the path is 108 bytes, must be 1 to 107' "$stint" --socket "${path}0" status
expect 'a word after -- is no option' 3 'out of reach' "${s[@]}" check api -- --help
for command in 'policy list' 'policy history' 'policy unpin a' 'db init' 'db migrate' 'db status' 'client clear a b'; do
	# shellcheck disable=SC2086
	expect "$command: no database" 4 "can't connect to the database: " "${s[@]}" $command
done
expect '$STINT_DATABASE is heeded' 4 "nowhere.else" env STINT_DATABASE=host=/nowhere/else "$stint" db status
expect "without it, libpq's own are" 4 '/nowhere/libpq' env PGHOST=/nowhere/libpq "$stint" policy list
expect 'database = memory:' 2 'lives inside the agent' env STINT_DATABASE=memory: "$stint" policy list
expect 'a connection string that is none' 4 'invalid connection option "nonsense"' "$stint" --database nonsense=1 db status

expect 'db sql' 0 'create schema stint' "$stint" db sql
expect 'a full disk' 5 'No space left' bash -c '"$0" db sql >/dev/full' "$stint"
expect 'a C locale' 2 'unknown command "ä"' env LC_ALL=C "$stint" ä
expect 'a reader that goes away' 0 '^$' bash -c 'set -o pipefail; "$0" db sql | head -0' "$stint"

# The loader tells when a program clears away what it has loaded.
mkfifo "$tmp/service"
hanging=(env PGSERVICEFILE="$tmp/service" LD_DEBUG=files "$stint" --database service=limits)
expect 'a program that nothing hangs in clears away' 0 'calling fini' "${hanging[@]}" db sql
expect 'a service file that hangs: given up' 4 "service file can't be read: its file system doesn't answer" "${hanging[@]}" policy list
ok '... and left in peace' "$(! grep -q 'calling fini' <<<"$output"; echo $?)" "$(grep fini <<<"$output")"
