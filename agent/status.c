/* status.c - says what is going on, as JSON and as a sentence; see status.h. */
#include "status.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stint.h"
#include "counters.h"
#include "monotonic.h"
#include "policy.h"

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

void status_sentence(const struct status_sources *status, char *text, size_t size) {
	const struct core *core = status->driver->core;
	uint32_t clients = core_client_count(core);
	size_t apps = server_app_count(status->driver->server);
	switch (core_state(core)) {
	case CORE_MEMORY:
		snprintf(text, size, "Counting in memory, for this host alone; %u clients, %zu apps", clients, apps);
		break;
	case CORE_FALLBACK:
		snprintf(text, size, "FALLBACK for %" PRId64 " s, local limits in force (%.120s); %u clients, %zu apps",
		         (monotonic_now_ns() - core_fallback_since_ns(core)) / NS_PER_S, status->sync->why, clients, apps);
		break;
	case CORE_RESYNC:
		snprintf(text, size, "Back from fallback, charging %zu clients; %u clients, %zu apps",
		         core_uncharged(core), clients, apps);
		break;
	case CORE_CONNECTING:
		snprintf(text, size, "Connecting to the database; %u clients, %zu apps", clients, apps);
		break;
	case CORE_IN_STEP:
		snprintf(text, size, "In step with the database, %d hosts; %u clients, %zu apps",
		         status->sync->hello.live_hosts, clients, apps);
		break;
	}
}

/* JSON is UTF-8. Words that aren't UTF-8, such as a server's message in another encoding, lose what isn't ASCII;
 * words that were only cut within a character lose that character. */
static json_t *text_status(const char *words) {
	size_t length = strlen(words);
	char copy[512];
	for (size_t cut = 0; cut < 4 && cut <= length; cut++) {
		json_t *text = json_stringn(words, length - cut);
		if (text)
			return text;
	}
	snprintf(copy, sizeof(copy), "%s", words);
	for (char *c = copy; *c; c++)
		*c = (unsigned char)*c < 0x80 ? *c : '?';
	return json_string(copy);
}

static json_t *database_status(const struct status_sources *status) {
	const struct driver *driver = status->driver;
	const struct sync *sync = status->sync;
	int64_t now_ns = monotonic_now_ns();
	return json_pack("{s:s, s:s, s:I, s:o, s:i, s:s, s:s, s:I, s:I, s:I, s:s, s:b}", "kind",
	                 driver->database ? "postgresql" : "memory", "state",
	                 status_state_name(core_state(driver->core)), "since_ms",
	                 (json_int_t)((now_ns - driver->state_since_ns) / NS_PER_MS), "last_error",
	                 text_status(sync->why), "live_hosts", (int)sync->hello.live_hosts, "server",
	                 sync->hello.server, "timeline", sync->hello.timeline, "held_ms",
	                 (json_int_t)max64(0, (core_held_until_ns(driver->core) - now_ns) / NS_PER_MS), "fallbacks",
	                 (json_int_t)status->outage->count, "rtt_us",
	                 (json_int_t)(core_rtt_ns(driver->core) / NS_PER_US), "pooler", status->config->pooler,
	                 "direct", driver->database && database_is_direct(driver->database));
}

static json_t *table_status(const struct status_sources *status) {
	const struct core *core = status->driver->core;
	const struct core_counters *c = core_counters(core);
	const struct directory_header *directory = status->shm->directory;
	return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "shm", text_status(status->config->shm),
	                 "clients", (json_int_t)core_client_count(core), "capacity",
	                 (json_int_t)status->config->max_clients, "bytes",
	                 (json_int_t)(directory->table_bytes + directory->directory_bytes), "evictions",
	                 (json_int_t)(c->evicted_idle + c->evicted_for_room), "evicted_for_room",
	                 (json_int_t)c->evicted_for_room, "overflow", (json_int_t)c->tableless, "repaired",
	                 (json_int_t)c->repaired, "taken_over", status->shm->taken_over);
}

static json_t *counter_status(const struct core *core) {
	const struct core_counters *c = core_counters(core);
	json_t *object = json_object();
#define SET(name, number, meaning) json_object_set_new(object, #name, json_integer((json_int_t)(number)));
	COUNTERS(SET, c, core)
#undef SET
	return object;
}

static json_t *policy_status(int index, const struct policy_row *row) {
	return json_pack("{s:i, s:i, s:o, s:I, s:I, s:I, s:I, s:s, s:i, s:s, s:b, s:b}", "index", index, "policy_id",
	                 (int)row->policy_id, "name", text_status(row->name), "max_requests",
	                 (json_int_t)row->max_requests, "time_window_ms", (json_int_t)row->time_window_ms,
	                 "fallback_max_requests", (json_int_t)row->fallback_max_requests, "fallback_time_window_ms",
	                 (json_int_t)row->fallback_time_window_ms, "algorithm", policy_algorithm_name(row->algorithm),
	                 "resolution", (int)row->resolution, "mode", policy_mode_name(row->mode), "pinned",
	                 (int)row->pinned, "shadow", (int)row->shadow);
}

static json_t *policies_status(const struct policies *policies) {
	json_t *list = json_array();
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		if (policies->policy[i].used)
			json_array_append_new(list, policy_status(i, &policies->policy[i].row));
	return list;
}

static char *status_json(const struct status_sources *status) {
	const struct driver *driver = status->driver;
	json_t *root =
		json_pack("{s:s, s:o, s:s, s:i, s:I, s:o, s:o, s:I, s:o, s:o}", "version", STINT_VERSION, "host",
	              text_status(status->config->host), "instance", status->instance, "pid", (int)getpid(),
	              "uptime_ms", (json_int_t)((monotonic_now_ns() - status->started_ns) / NS_PER_MS), "database",
	              database_status(status), "table", table_status(status), "apps",
	              (json_int_t)server_app_count(driver->server), "counters", counter_status(driver->core),
	              "policies", policies_status(driver->policies));
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	return text;
}

void status_send_text(const struct status_sources *status, server_peer peer, uint32_t serial, const char *text,
                      size_t size, bool more) {
	do {
		struct {
			struct wire_head head;
			char piece[WIRE_MESSAGE_MAX - sizeof(struct wire_head)];
		} message = {.head = {.type = WIRE_STATUS_TEXT, .serial = serial}};
		size_t length = size < sizeof(message.piece) ? size : sizeof(message.piece);
		message.head.flags = more || size > length ? WIRE_STATUS_MORE : 0;
		if (length)
			memcpy(message.piece, text, length);
		server_send(status->driver->server, peer, &message, sizeof(message.head) + length);
		text += length;
		size -= length;
	} while (size > 0);
}

void status_on_message(const struct status_sources *status, server_peer peer, uint32_t serial) {
	char *text = status_json(status);
	status_send_text(status, peer, serial, text ? text : "", text ? strlen(text) : 0, false);
	free(text);
}
