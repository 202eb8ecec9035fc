/*
 * cmd_check.c - `stint check`: asks for one admission, through the library as
 * any app would. What is granted is spent.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent_status.h"
#include "command.h"
#include "names.h"
#include "output.h"
#include "stint.h"
#include "verdict.h"

const char check_help[] =
	"Asks for one admission of CLIENT under POLICY, and takes it: a cost that is allowed is\n"
	"spent. The policy must exist; nothing is declared.\n"
	"\n"
	"  --cost N   what the request weighs, 1 to 1000000000 (default 1)\n"
	"  --json     the verdict as a JSON object\n"
	"\n"
	"The exit code is the verdict: 0 allowed, 1 denied. (\"reason\" says whether the client is\n"
	"blocked, the cost is above the limit, or the client may ask again.) A shadow policy denies\n"
	"nobody: \"shadow_denied\" says that it would, \"reason\" why. While the database is\n"
	"away, this host's fallback limit decides; that is a verdict too (\"source\" says so). When\n"
	"the agent doesn't answer within a second, no verdict is made up: the exit code is 3. When\n"
	"the agent doesn't know the policy because the database is away, it is 4.\n";

struct request {
	const char *policy;
	const char *client_id;
	int64_t cost;
	bool json;
};

/* An agent without a database has the policies that its apps declare. One with a database may not know them all:
 * then the nearest of those that it knows is named. */
static int report_missing(const struct command_call *call, const struct request *request, const char *kind,
                          json_t *policies) {
	struct names_search search = {.word = request->policy};
	json_t *policy;
	size_t i;
	json_array_foreach(policies, i, policy)
		names_consider(&search, json_string_value(json_object_get(policy, "name")));
	if (search.nearest || strcmp(kind, "memory") != 0)
		return command_no_policy(call, &search);
	command_error(
		call,
		"there is no policy \"%s\": the agent has no database (memory:), so there are only those that apps"
		" of this host declare; \"stint status\" shows them",
		request->policy);
	return COMMAND_USAGE;
}

/* "No such policy" means something only from an agent that could ask the database. */
static int report_no_policy(const struct command_call *call, const struct request *request) {
	char why[256];
	const char *state = "", *kind = "";
	int code = COMMAND_NO_DATABASE;
	json_t *status = agent_status_fetch(call->settings->socket_path, why, sizeof(why));
	json_unpack(status, "{s:{s?s, s?s}}", "database", "state", &state, "kind", &kind);
	if (strcmp(state, "fallback") == 0 || strcmp(state, "connecting") == 0)
		command_error(call, "the agent doesn't know the policy \"%s\", and the database is out of reach",
		              request->policy);
	else
		code = report_missing(call, request, kind, json_object_get(status, "policies"));
	json_decref(status);
	return code;
}

static int report_failure(const struct command_call *call, const struct request *request, int error) {
	const char *sentence = stint_strerror(error), *detail = stint_error_detail();
	if (error == STINT_ENOPOLICY)
		return report_no_policy(call, request);
	if (strstr(detail, sentence)) /* it says the sentence itself */
		command_error(call, "%s", detail);
	else
		command_error(call, "%s%s%s", sentence, *detail != '\0' ? ": " : "", detail);
	switch (error) {
	case STINT_ERANGE:
	case STINT_ECLIENT:
	case STINT_EPOLICY:
	case STINT_EPATH: return COMMAND_USAGE;
	case STINT_ENOMEM:
	case STINT_ESYSTEM: return COMMAND_FAILED;
	default: return COMMAND_NO_AGENT;
	}
}

/* The library always decides, if need be without the agent; but an operator wants to know what the agent says. */
static int report_no_agent(const struct command_call *call) {
	char why[256] = "it did not answer the check in time";
	json_decref(agent_status_fetch(call->settings->socket_path, why, sizeof(why)));
	const char *path = agent_status_socket(call->settings->socket_path);
	command_error(call, "the agent at %s is out of reach: %s", path, why);
	return COMMAND_NO_AGENT;
}

static int print_json(const struct request *request, const struct stint_result *result) {
	json_t *verdict = json_object();
	json_object_set_new(verdict, "policy", json_string(request->policy));
	json_object_set_new(verdict, "client_id", json_string(request->client_id));
	json_object_set_new(verdict, "cost", json_integer(request->cost));
	verdict_add(verdict, result);
	return output_json(verdict, stdout);
}

static int print_verdict(const struct request *request, const struct stint_result *result) {
	if (!request->json)
		verdict_print(result);
	else if (print_json(request, result) != 0)
		return COMMAND_FAILED;
	return result->allowed ? COMMAND_DONE : COMMAND_NO;
}

int check_run(struct command_call *call) {
	struct request request = {.cost = 1};
	struct stint_result result;
	const char *arguments[2];
	const struct command_option options[] = {
		{.name = "cost", .number = &request.cost, .min = 1, .max = STINT_MAX_REQUESTS_MAX},
		{.name = "json", .flag = &request.json},
		{0},
	};
	if (command_parse(call, options, arguments, 2, 2) != COMMAND_DONE ||
	    command_check_policy(call, arguments[0]) != COMMAND_DONE ||
	    command_check_client(call, arguments[1]) != COMMAND_DONE)
		return COMMAND_USAGE;
	request.policy = arguments[0];
	request.client_id = arguments[1];
	int status = verdict_ask(call->settings->socket_path, request.policy, request.client_id,
	                         (uint32_t)request.cost, &result);
	if (status == STINT_EAGENT)
		return report_no_agent(call);
	return status != 0 ? report_failure(call, &request, status) : print_verdict(&request, &result);
}
