/* warm_table.c - fills the table, starts the agent that takes it over, and attaches. */
#include "warm_table.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "core/table.h"
#include "policies.h"
#include "shm.h"

/* As long as anybody would watch; credits as many as a policy may have. */
#define WINDOW_MS 3600000
#define CREDITS   STINT_MAX_REQUESTS_MAX

static const struct policy_row policy = {
	.name = "bench",
	.max_requests = CREDITS,
	.time_window_ms = WINDOW_MS,
	.fallback_max_requests = CREDITS,
	.fallback_time_window_ms = WINDOW_MS,
	.algorithm = STINT_FIXED_WINDOW,
	.resolution = 1,
};

void warm_id(uint32_t client, char id[static WARM_ID_LENGTH + 1]) {
	/* Spread over all digits, as keys of an API are. */
	uint64_t mixed = (client + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);

	memcpy(id, "key_", 4);
	for (unsigned i = 4; i < WARM_ID_LENGTH; i++) {
		id[i] = "0123456789abcdefghijklmnopqrstuv"[mixed >> 59];
		mixed <<= 5;
	}
	id[WARM_ID_LENGTH] = '\0';
}

static int put(struct table *table, uint16_t index, uint32_t client, enum warm_kind kind) {
	int64_t end_ns = (int64_t)(monotonic_ns() + WINDOW_MS * NS_PER_MS);
	char id[WARM_ID_LENGTH + 1];
	struct place place;
	uint32_t slot;

	warm_id(client, id);
	place = table_place(table, index, id, WARM_ID_LENGTH);
	slot = table_claim(table, &place, index, TABLE_ORPHAN);
	if (slot == TABLE_NO_SLOT)
		return -1;
	if (kind == WARM_DENIED) {
		table_deny(table, slot, end_ns, 1, 0, hint_pack(0, 0, 0));
		return 0;
	}
	table_publish(table, slot, 0, &(struct table_lease){.credits = CREDITS, .deadline_ns = end_ns});
	table_set_remaining(table, slot, 0);
	return 0;
}

/* Returns how many found no room: a few, of millions. */
static uint32_t put_all(struct shm *shm, uint32_t clients, enum warm_kind kind) {
	static struct policies policies;
	struct table table;
	uint32_t missing = 0;
	int index;

	policies_init(&policies, shm->directory, false);
	index = policies_add(&policies, &policy);
	if (table_init(&table, shm->directory, shm->table, false) != 0)
		return clients;
	for (uint32_t i = 0; i < clients; i++)
		missing += put(&table, (uint16_t)index, i, kind) != 0;
	table_deinit(&table);
	return missing;
}

static int fill(const struct host *host, uint32_t clients, enum warm_kind kind) {
	char error[SHM_ERROR_MAX];
	struct shm shm;
	uint32_t missing;

	if (shm_objects_open(&shm, host->shm, clients, error) != 0) {
		fprintf(stderr, "warm table: %s\n", error);
		return -1;
	}
	missing = put_all(&shm, clients, kind);
	shm_objects_close(&shm);
	if (missing > clients / 1000) {
		fprintf(stderr, "warm table: %u of %u clients found no room\n", missing, clients);
		return -1;
	}
	return 0;
}

int warm_table_make(struct warm_table *warm, const struct scene *scene, uint32_t number, uint32_t clients,
                    enum warm_kind kind) {
	/* Denials last longer than those that an agent gives: its sweep would lift them, so it comes round in hours
	 * only. */
	struct host_options options = {.database = "memory:",
	                               .max_clients = clients < 16 ? 16 : (int)clients,
	                               .idle_timeout_s = 86400};

	warm->clients = clients;
	if (host_prepare(&warm->host, scene, number, &options) != 0 ||
	    fill(&warm->host, (uint32_t)options.max_clients, kind) != 0)
		return -1;
	return host_start(&warm->host);
}

void warm_table_end(struct warm_table *warm) {
	host_stop(&warm->host);
}

int warm_attach(const struct warm_table *warm, struct stint **out, struct stint_limiter **limiter) {
	struct stint_options options = {.policy = policy.name,
	                                .max_requests = CREDITS,
	                                .time_window_ms = WINDOW_MS,
	                                .fallback_max_requests = CREDITS,
	                                .algorithm = STINT_FIXED_WINDOW,
	                                .resolution = 1};
	struct stint_result result;
	char id[WARM_ID_LENGTH + 1];
	int status = stint_open(out, warm->host.socket);

	if (status == 0)
		status = stint_limiter_new(limiter, *out, &options);
	warm_id(0, id);
	/* The first check makes the limiter known to the agent, the second one is decided by the table. */
	for (int i = 0; status == 0 && i < 2; i++)
		status = stint_check(*limiter, id, 1, &result);
	if (status != 0 || result.source != STINT_SOURCE_LEASE) {
		fprintf(stderr, "warm table: the first checks came from elsewhere: %s\n",
		        status ? stint_strerror(status) : "not from a lease");
		return -1;
	}
	return 0;
}
