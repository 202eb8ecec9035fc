# Metrics as Prometheus' own tools see them: promtool looks at the text, the alerts and the dashboard, and a Prometheus scrapes an agent.
# shellcheck shell=bash disable=SC2154

cleanups+=('rm -f /dev/shm/stint-metrics-$$.*')

# A port that nobody listens on.
free_port() {
	local port
	for ((port = 20000 + $$ % 20000; port < 65000; port++)); do
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
	done
}

end_process() {
	kill -TERM "$1" 2>/dev/null
	wait_for 10 test ! -d "/proc/$1" || kill -KILL "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}

start_agent_at() { # PORT
	STINT_SOCKET=$tmp/sock STINT_SHM=/stint-metrics-$$ STINT_DATABASE=memory: STINT_HOST=metrics STINT_MAX_CLIENTS=1000 \
		STINT_METRICS_LISTEN=127.0.0.1:$1 "$stintd" -c /dev/null >"$tmp/log" 2>&1 &
	agent=$!
	cleanups+=("end_process $agent")
	wait_for 20 scrape || sed 's/^/# /' "$tmp/log"
}

scrape() { curl -sf "http://127.0.0.1:$port/metrics"; }

port=$(free_port)
start_agent_at "$port"
text=$(scrape)
ok 'HTTP and the command tell the same families' "$(diff <(grep ^# <<<"$text") <("$stint" --socket "$tmp/sock" metrics | grep ^#) >/dev/null; echo $?)"

# node_exporter has process_* of its own, and logs an error for each name that a file has with another HELP, at each scrape.
filter=$("$stint" metrics --help | sed -n 's/^  stint metrics | \(.*\) >stint.new && .*/\1/p')
ok "the help's command for node_exporter leaves out its own names, and nothing else" \
	"$(diff <(eval "$filter" <<<"$text") <(grep -v '^process_\|^# [A-Z]* process_' <<<"$text") >"$tmp/diff"; echo $?)" "$filter: $(cat "$tmp/diff")"

# names FILE...: of the metrics that it speaks of. A histogram's parts are of one.
names() { grep -ohE '\bstint_[a-z_]+' "$@" | sed -E 's/_(bucket|sum|count)$//' | sort -u; }
known=$(sed -nE 's/^# TYPE ([a-z_]+) .*/\1/p' <<<"$text" | sort)
told=$(grep -v '^ *description\|^ *summary\|^#' systemd/prometheus/stint.rules.yml | names -)
ok 'alerts speak of metrics that there are' "$([[ -n $told && -z $(comm -23 <(echo "$told") <(echo "$known")) ]]; echo $?)" "$(comm -23 <(echo "$told") <(echo "$known"))"
told=$(sed -n '/^## Metrics/,/^## When/p' systemd/README.md | grep '^| `' | cut -d'|' -f2 | names -)
ok 'the documents name each metric' "$(diff <(grep ^stint_ <<<"$known") <(echo "$told") >"$tmp/diff"; echo $?)" "$(cat "$tmp/diff")"

# ---- The dashboard ----------------------------------------------------------------------

# An app declares a policy: without one there are no samples with a policy's name.
declare_policy() {
	STINT_SOCKET=$tmp/sock timeout 120 node -e "
		const {DistributedRateLimiter} = require('./lib/node');
		new DistributedRateLimiter({policy: 'api', maxRequests: 5, timeWindowMs: 60000, timeoutMs: 60000}).isAllowed('anna')
			.then((allowed) => process.exit(allowed ? 0 : 1))"
}

dashboard=systemd/grafana/stint.json

# wrong CHANGE FAULT: a dashboard that is changed by sed has this fault.
wrong() {
	sed "$1" "$dashboard" >"$tmp/wrong.json"
	expect "... $2" 1 "$2" node tests/cli/dashboard.js "$tmp/wrong.json" "$tmp/text" "$tmp/wrong.yml"
}

if [[ ! -e build/stint.node ]] || ! command -v node >/dev/null; then
	ok 'the dashboard # SKIP there is no node, or no addon for it' 0
else
	ok 'an app declares a policy' "$(declare_policy >"$tmp/said" 2>&1; echo $?)" "$(cat "$tmp/said")"
	scrape >"$tmp/text"
	expect 'the dashboard speaks of metrics and labels that there are, and of all of them' 0 '^$' \
		node tests/cli/dashboard.js "$dashboard" "$tmp/text" "$tmp/dashboard.yml"
	wrong 's/stint_live_hosts/stint_life_hosts/' 'there is no metric stint_life_hosts'
	wrong 's/{outcome=/{outcame=/' 'stint_decisions_total has no label outcame'
	wrong 's/denied/dinied/' 'no sample of stint_decisions_total has outcome="dinied"'
	wrong 's/by (outcome)/by (outcame)/' 'none of its metrics has the label outcame'
	wrong 's/{{reason}}/{{raeson}}/' 'the legend names raeson'
	wrong 's/[$]policy/$polizei/' 'there is no variable [$]polizei'
	wrong 's/stint_table_repairs_total/stint_table_overflow_total/' 'no panel shows stint_table_repairs_total'
fi

if ! command -v promtool >/dev/null || ! command -v prometheus >/dev/null; then
	ok 'promtool and Prometheus # SKIP there are none' 0
	return
fi
ok 'promtool checks what is there' "$(promtool check metrics <<<"$text" >"$tmp/check" 2>&1; echo $?)" "$(cat "$tmp/check")"
cp systemd/prometheus/stint.rules.yml tests/cli/rules_test.yml "$tmp"
expect 'the alerts are well-formed' 0 'SUCCESS: [0-9]+ rules found' promtool check rules "$tmp/stint.rules.yml"
[[ ! -e $tmp/dashboard.yml ]] ||
	expect "the dashboard's expressions are well-formed" 0 'SUCCESS: [0-9]+ rules found' promtool check rules "$tmp/dashboard.yml"
expect 'each alert fires when it should, and not before' 0 'SUCCESS' promtool test rules "$tmp/rules_test.yml"

# ---- A real Prometheus ------------------------------------------------------------------

prometheus_port=$(port=$((port + 1)) && for ((; port < 65000; port++)); do
	(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; break; }
done)
cat >"$tmp/prometheus.yml" <<END
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [$tmp/stint.rules.yml]
scrape_configs:
  - job_name: stint
    static_configs: [{targets: ['127.0.0.1:$port']}]
END
prometheus --config.file="$tmp/prometheus.yml" --storage.tsdb.path="$tmp/tsdb" --web.listen-address="127.0.0.1:$prometheus_port" \
	>"$tmp/prometheus.log" 2>&1 &
cleanups+=("end_process $!")

# asks QUERY VALUE: whether the query has this one value.
asks() {
	curl -sf "http://127.0.0.1:$prometheus_port/api/v1/query" --data-urlencode "query=$1" | grep -qE "\"value\":\[[0-9.]+,\"$2\"\]"
}

ok 'it is scraped' "$(wait_for 60 asks 'up{job="stint"}' 1; echo $?)" "$(tail -20 "$tmp/prometheus.log")"
ok '... with the state' "$(wait_for 20 asks 'stint_agent_state{state="memory"}' 1; echo $?)"

# Twelve checks with a wrong id, of five processes: each is counted before it ends.
for ((i = 0; i < 12; i++)); do
	"$stint" --socket "$tmp/sock" check nobody c >/dev/null 2>&1
done
ok '... and counts what has been' "$(wait_for 20 asks 'sum(stint_check_errors_total)' 12; echo $?)" "$(scrape | grep errors_total)"

# Counts of apps go on with the next agent; Prometheus sees no reset.
end_process "$agent"
start_agent_at "$port"
ok 'another agent goes on counting' "$(wait_for 20 asks 'sum(stint_check_errors_total) and on() (up{job="stint"} == 1)' 12; echo $?)" "$(scrape | grep errors_total)"
