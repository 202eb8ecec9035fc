/*
 * cmd_audit.c - `stint audit ...`: what was decided in the last 30 days, as the agents have handed it in.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "command.h"
#include "query.h"

#define PERIOD_HELP                                                                                               \
	"  --last DURATION  so long until now, 1m to 30d: a number of s, m, h or d (default 24h)\n"                   \
	"  --day DATE       a day instead, such as 2026-11-28, by UTC: today or one of the 30 before\n"               \
	"  --json           as a JSON array\n"

static const char policies_help[] =
	"Shows what was decided under each policy, those that deny most first: how many checks were\n"
	"allowed and denied; of the denied, how many by a host on its own (fallback), and by an app\n"
	"on its own (local); and how many would have been denied if the policy weren't a shadow.\n"
	"\n" PERIOD_HELP;

static const char clients_help[] =
	"Shows who was denied most, by which policy, and why: limit, block, fallback (a host on its\n"
	"own), or database (it couldn't get at the client's row); and by how much the number may be\n"
	"wrong. Of a shadow policy these are the clients that it would have denied. Clients are\n"
	"counted by the hour, so hours count that are in the period in part. Of an agent that was\n"
	"killed, up to five minutes are missing.\n"
	"\n"
	"  --top N          so many at most, 1 to 10000 (default 20)\n" PERIOD_HELP;

static const char client_help[] =
	"Shows how often one client was denied in each hour, why, and by how much the number may be\n"
	"wrong. Hosts know the clients that they deny most; of one that isn't among them there is\n"
	"nothing.\n"
	"\n" PERIOD_HELP;

static const char shadows_help[] =
	"Shows what shadow policies would have denied: how many checks, and which share of them. The\n"
	"clients are shown by \"stint audit clients\".\n"
	"\n" PERIOD_HELP;

/* ---- The period ------------------------------------------------------------------------- */

#define DAYS_KEPT 30

struct period {
	const char *last, *day;
	bool as_json;
	char ms[24];
};

#define PERIOD_OPTIONS(period)                                                                                    \
	{.name = "last", .text = &(period)->last}, {.name = "day", .text = &(period)->day}, {                         \
		.name = "json", .flag = &(period)->as_json                                                                \
	}

/* "2026-11-28" and nothing else, such as "2026-11- 8"; -1: there is no such day. */
static time_t parse_day(const char *text) {
	struct tm tm = {0};
	char again[32];
	const char *rest = strptime(text, "%Y-%m-%d", &tm);
	time_t day = rest ? timegm(&tm) : -1; /* makes it a day that there is */
	return rest && strftime(again, sizeof(again), "%Y-%m-%d", &tm) > 0 && strcmp(again, text) == 0 ? day : -1;
}

static int check_day(const struct command_call *call, const char *text) {
	time_t day = parse_day(text), now = time(NULL);
	if (day >= 0 && day <= now && day > now - (DAYS_KEPT + 1) * 86400)
		return COMMAND_DONE;
	return command_misuse(
		call, "--day is \"%.80s\", must be a day such as 2026-11-28: today, by UTC, or one of the 30 days before",
		text);
}

static int check_period(const struct command_call *call, struct period *period) {
	static const struct command_range range = {60, DAYS_KEPT * 86400, "1m to 30d"};
	int64_t ms;
	if (period->last && period->day)
		return command_misuse(call, "--last and --day exclude one another");
	if (period->day)
		return check_day(call, period->day);
	int code = command_parse_duration(call, "last", period->last ? period->last : "24h", &range, &ms);
	if (code == COMMAND_DONE)
		snprintf(period->ms, sizeof(period->ms), "%lld", (long long)ms);
	return code;
}

/* $1: its length in ms, until now; or $2: the day. */
#define PERIOD_SQL                                                                                                \
	"(select coalesce($2::date::timestamp at time zone 'UTC',"                                                    \
	" statement_timestamp() - $1::bigint * interval '1 millisecond') as since,"                                   \
	" coalesce(($2::date + 1)::timestamp at time zone 'UTC', 'infinity') as till) t"

static int print(const struct command_call *call, const struct period *period, const char *sql, int param_count,
                 const char *const *more) {
	const char *params[5] = {period->day ? NULL : period->ms, period->day};
	for (int i = 2; i < param_count; i++)
		params[i] = more[i - 2];
	return query_print(call, sql, param_count, params, period->as_json);
}

/* ---- The questions ------------------------------------------------------------------------ */

static int run_of_all(struct command_call *call, const char *sql) {
	struct period period = {0};
	const struct command_option options[] = {PERIOD_OPTIONS(&period), {0}};
	int code = command_parse(call, options, NULL, 0, 0);
	if (code == COMMAND_DONE)
		code = check_period(call, &period);
	return code == COMMAND_DONE ? print(call, &period, sql, 2, NULL) : code;
}

/* A minute counts that begins in the period, and of a period until now the one that it begins in. */
#define MINUTES_SQL                                                                                               \
	" from stint.decision d, " PERIOD_SQL " where d.minute >= date_trunc('minute', t.since) and d.minute < t.till"

static int policies_run(struct command_call *call) {
	return run_of_all(
		call,
		"select policy, sum(allowed)::bigint as allowed, sum(denied)::bigint as denied,"
		" coalesce(round(100.0 * sum(denied) / nullif(sum(allowed + denied + shadow_denied), 0), 1), 0) as percent,"
		" coalesce(sum(denied) filter (where source = 'fallback'), 0)::bigint as fallback,"
		" coalesce(sum(denied) filter (where source = 'local'), 0)::bigint as local,"
		" sum(shadow_denied)::bigint as shadow_denied,"
		" count(distinct host) as hosts" MINUTES_SQL " group by policy order by denied desc, policy");
}

static int shadows_run(struct command_call *call) {
	return run_of_all(
		call,
		"select policy, sum(allowed + denied + shadow_denied)::bigint as checks, sum(shadow_denied)::bigint as would_deny,"
		" round(100.0 * sum(shadow_denied) / sum(allowed + denied + shadow_denied), 1) as percent,"
		" count(distinct host) as hosts" MINUTES_SQL
		" group by policy having sum(shadow_denied) > 0 order by would_deny desc, policy");
}

#define HOURS_SQL                                                                                                 \
	" from stint.denied_client d, " PERIOD_SQL " where d.hour > t.since - interval '1 hour' and d.hour < t.till"

static int clients_run(struct command_call *call) {
	struct period period = {0};
	const char *policy = NULL;
	int64_t top = 20;
	char number[24];
	const struct command_option options[] = {
		PERIOD_OPTIONS(&period),
		{.name = "top", .number = &top, .min = 1, .max = 10000},
		{0},
	};
	int code = command_parse(call, options, &policy, 0, 1);
	if (code == COMMAND_DONE && policy)
		code = command_check_policy(call, policy);
	if (code == COMMAND_DONE)
		code = check_period(call, &period);
	if (code != COMMAND_DONE)
		return code;
	snprintf(number, sizeof(number), "%lld", (long long)top);
	return print(
		call, &period,
		"select policy, client_id, reason, sum(denied)::bigint as denied, sum(error)::bigint as error,"
		" count(distinct host) as hosts, to_char(max(hour) at time zone 'UTC', $5) as last_hour" HOURS_SQL
		" and ($3::text is null or policy = $3)"
		" group by policy, client_id, reason order by denied desc, policy, client_id, reason limit $4::bigint",
		5, (const char *[]){policy, number, QUERY_TIME_FORMAT});
}

static int client_run(struct command_call *call) {
	struct period period = {0};
	const char *arguments[2];
	const struct command_option options[] = {PERIOD_OPTIONS(&period), {0}};
	int code = command_parse(call, options, arguments, 2, 2);
	if (code == COMMAND_DONE)
		code = command_check_policy(call, arguments[0]);
	if (code == COMMAND_DONE)
		code = command_check_client(call, arguments[1]);
	if (code == COMMAND_DONE)
		code = check_period(call, &period);
	if (code != COMMAND_DONE)
		return code;
	return print(call, &period,
	             "select to_char(hour at time zone 'UTC', $5) as hour, reason, sum(denied)::bigint as denied,"
	             " sum(error)::bigint as error, count(distinct host) as hosts" HOURS_SQL
	             " and policy = $3 and client_id = $4 group by d.hour, reason order by d.hour, reason",
	             5, (const char *[]){arguments[0], arguments[1], QUERY_TIME_FORMAT});
}

#define AUDITOR "stint_auditor"

const struct command audit_commands[] = {
	{"policies", "[--last DURATION | --day DATE] [--json]", "which policies deny most", policies_help, NULL,
     policies_run, AUDITOR},
	{"clients", "[POLICY] [--top N] [--last DURATION | --day DATE] [--json]", "who was denied most, and why",
     clients_help, NULL, clients_run, AUDITOR},
	{"client", "POLICY CLIENT [--last DURATION | --day DATE] [--json]",
     "how often one client was denied, by the hour", client_help, NULL, client_run, AUDITOR},
	{"shadows", "[--last DURATION | --day DATE] [--json]", "what shadow policies would have denied", shadows_help,
     NULL, shadows_run, AUDITOR},
	{0},
};
