/*
 * status.c - what is going on, as JSON for `stint status` and as a sentence for
 * systemd.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stint.h"
#include "agent.h"

const char *status_state_name(enum core_state state) {
	switch (state) {
	case CORE_MEMORY: return "memory";
	case CORE_CONNECTING: return "connecting";
	case CORE_FALLBACK: return "fallback";
	case CORE_RESYNC: return "resync";
	case CORE_IN_STEP: return "in step";
	}
	return "unknown";
}

void status_sentence(const struct agent *agent, char *text, size_t size) {
	uint32_t clients = core_client_count(agent->core);
	size_t apps = server_peer_count(agent->server);
	switch (core_state(agent->core)) {
	case CORE_MEMORY:
		snprintf(text, size, "Counting in memory, for this host alone; %u clients, %zu apps", clients, apps);
		break;
	case CORE_FALLBACK:
		snprintf(text, size, "FALLBACK for %" PRId64 " s, local limits in force (%.120s); %u clients, %zu apps",
		         (monotonic_now_ns() - core_fallback_since_ns(agent->core)) / 1000000000, agent->link.why, clients, apps);
		break;
	case CORE_RESYNC:
		snprintf(text, size, "Back from fallback, charging %zu clients; %u clients, %zu apps", core_uncharged(agent->core), clients, apps);
		break;
	case CORE_CONNECTING:
		snprintf(text, size, "Connecting to the database; %u clients, %zu apps", clients, apps);
		break;
	case CORE_IN_STEP:
		snprintf(text, size, "In step with the database, %d hosts; %u clients, %zu apps", agent->link.hello.live_hosts, clients, apps);
		break;
	}
}

/* JSON is UTF-8. Words that aren't - a server's message in another encoding - lose what isn't ASCII; if they were only cut within a
 * character, that one. */
static json_t *text_status(const char *words) {
	size_t length = strlen(words);
	char copy[512];
	for (size_t cut = 0; cut < 4 && cut <= length; cut++) {
		json_t *text = json_stringn(words, length - cut);
		if (text)
			return text;
	}
	snprintf(copy, sizeof copy, "%s", words);
	for (char *c = copy; *c; c++)
		*c = (unsigned char)*c < 0x80 ? *c : '?';
	return json_string(copy);
}

static json_t *database_status(const struct agent *agent) {
	const struct link *link = &agent->link;
	int64_t held_ns = core_held_until_ns(agent->core) - monotonic_now_ns();
	return json_pack("{s:s, s:s, s:I, s:o, s:i, s:s, s:s, s:I, s:I, s:I}",
	                 "kind", agent->database ? "postgresql" : "memory",
	                 "state", status_state_name(core_state(agent->core)),
	                 "since_ms", (json_int_t)((monotonic_now_ns() - link->state_since_ns) / 1000000),
	                 "last_error", text_status(link->why),
	                 "live_hosts", (int)link->hello.live_hosts,
	                 "server", link->hello.server,
	                 "timeline", link->hello.timeline,
	                 "held_ms", (json_int_t)(held_ns > 0 ? held_ns / 1000000 : 0),
	                 "fallbacks", (json_int_t)link->fallbacks,
	                 "rtt_us", (json_int_t)(core_rtt_ns(agent->core) / 1000));
}

static json_t *table_status(const struct agent *agent) {
	const struct core_counters *c = core_counters(agent->core);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}",
	                 "clients", (json_int_t)core_client_count(agent->core),
	                 "capacity", (json_int_t)agent->config.max_clients,
	                 "bytes", (json_int_t)(agent->shm.directory->table_bytes + agent->shm.directory->directory_bytes),
	                 "evictions", (json_int_t)(c->evicted_idle + c->evicted_for_room),
	                 "evicted_for_room", (json_int_t)c->evicted_for_room,
	                 "overflow", (json_int_t)c->tableless,
	                 "repaired", (json_int_t)c->repaired,
	                 "taken_over", agent->shm.taken_over);
}

static json_t *counter_status(const struct core *core) {
	const struct core_counters *c = core_counters(core);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
	                 "wants", (json_int_t)c->wants,
	                 "lows", (json_int_t)c->lows,
	                 "allowed", (json_int_t)c->allowed,
	                 "denied", (json_int_t)c->denied,
	                 "batches", (json_int_t)c->batches,
	                 "requests", (json_int_t)c->requests,
	                 "granted", (json_int_t)c->granted,
	                 "returned", (json_int_t)c->returned,
	                 "charged", (json_int_t)c->charged,
	                 "late", (json_int_t)c->late,
	                 "unserved", (json_int_t)c->unserved,
	                 "fallback_admitted", (json_int_t)c->fallback_granted,
	                 "shared_admitted", (json_int_t)core_shared_granted(core));
}

static json_t *policy_status(int index, const struct policy_row *row) {
	return json_pack("{s:i, s:i, s:o, s:I, s:I, s:I, s:I, s:s, s:i, s:s, s:b}",
	                 "index", index,
	                 "policy_id", (int)row->policy_id,
	                 "name", text_status(row->name),
	                 "max_requests", (json_int_t)row->max_requests,
	                 "time_window_ms", (json_int_t)row->time_window_ms,
	                 "fallback_max_requests", (json_int_t)row->fallback_max_requests,
	                 "fallback_time_window_ms", (json_int_t)row->fallback_time_window_ms,
	                 "algorithm", policy_algorithm_name(row->algorithm),
	                 "resolution", (int)row->resolution,
	                 "mode", policy_mode_name(row->mode),
	                 "pinned", (int)row->pinned);
}

static json_t *policies_status(const struct agent *agent) {
	json_t *list = json_array();
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		if (agent->policies.policy[i].used)
			json_array_append_new(list, policy_status(i, &agent->policies.policy[i].row));
	return list;
}

static char *status_json(const struct agent *agent) {
	json_t *root = json_pack("{s:s, s:o, s:s, s:i, s:I, s:o, s:o, s:I, s:o, s:o}",
	                         "version", STINT_VERSION,
	                         "host", text_status(agent->config.host),
	                         "instance", agent->instance,
	                         "pid", (int)getpid(),
	                         "uptime_ms", (json_int_t)((monotonic_now_ns() - agent->started_ns) / 1000000),
	                         "database", database_status(agent),
	                         "table", table_status(agent),
	                         "apps", (json_int_t)server_peer_count(agent->server),
	                         "counters", counter_status(agent->core),
	                         "policies", policies_status(agent));
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	return text;
}

void status_on_message(void *context, server_peer peer, uint32_t serial) {
	struct agent *agent = context;
	char *text = status_json(agent);
	size_t left = text ? strlen(text) : 0;
	const char *at = text ? text : "";
	do {
		struct {
			struct wire_head head;
			char piece[WIRE_MESSAGE_MAX - sizeof(struct wire_head)];
		} message = {.head = {.type = WIRE_STATUS_TEXT, .serial = serial}};
		size_t length = left < sizeof message.piece ? left : sizeof message.piece;
		message.head.flags = left > length ? WIRE_STATUS_MORE : 0;
		if (length)
			memcpy(message.piece, at, length);
		server_send(agent->server, peer, &message, sizeof message.head + length);
		at += length;
		left -= length;
	} while (left > 0);
	free(text);
}
