/* pack.c - see pack.h. */
#include "pack.h"

#include <stdio.h>

#include "tap.h"

#define LOOK_EACH_MS 200
#define SLACK_MS     200 /* of a check's timeout: for the scheduler */

uint32_t pack_wait_in_step(const struct pack *pack, int timeout_ms) {
	uint64_t began = monotonic_ns();
	uint32_t count = 0;

	for (uint32_t i = 0; i < pack->count; i++) {
		int64_t left = timeout_ms - stage_ms_since(began);

		count += host_wait_in_step(&pack->host[i], left > 0 ? (int)left : 0);
	}
	return count;
}

static int add_host(struct pack *pack, const struct host_options *options) {
	struct host *host = &pack->host[pack->count];
	struct host_options how = *options;
	char name[32];

	snprintf(name, sizeof(name), "host-%03u", pack->count);
	how.name = name;
	if (host_prepare(host, pack->scene, pack->count, &how) != 0)
		return -1;
	pack->count++;
	return host_start(host);
}

int pack_start_agents(struct pack *pack, uint32_t count, const struct host_options *options, int timeout_ms) {
	uint64_t began = monotonic_ns();
	uint32_t ready;

	books_init(&pack->books);
	while (pack->count < count)
		if (add_host(pack, options) != 0)
			return -1;
	ready = pack_wait_in_step(pack, timeout_ms);
	return tap_ok(ready == count, "%u of %u agents are in step after %lld ms", ready, count,
	              (long long)stage_ms_since(began))
	           ? 0
	           : -1;
}

int pack_start_apps(struct pack *pack, uint32_t apps, const struct journal_plan *plan, uint32_t rate) {
	pack->crowd.scene = pack->scene;
	for (uint32_t i = 0; i < apps; i++)
		if (crowd_add(&pack->crowd, &pack->host[i], plan, rate) != 0)
			return -1;
	return tap_ok(crowd_start(&pack->crowd) == 0, "%u apps run", apps) ? 0 : -1;
}

void pack_look(struct pack *pack, int64_t ms) {
	for (int64_t i = 0; i < ms; i += LOOK_EACH_MS) {
		books_look(&pack->books, &pack->cluster);
		sleep_ms(LOOK_EACH_MS);
	}
}

uint64_t pack_judge(struct pack *pack, const struct journal_plan *plan, const struct stage_away *away,
                    size_t faults, uint64_t *checked) {
	const struct oracle_choice up = {.host = ORACLE_ANY, .sources = ORACLE_UP};
	static struct crowd_total total; /* large */
	struct oracle oracle = {0};
	uint64_t wrong = 0;
	uint32_t well = 0;

	wrong += !tap_ok(crowd_stop(&pack->crowd) == 0, "all apps ended well");
	crowd_sum(&pack->crowd, &total);
	stage_print_total(&total);
	wrong += !tap_ok(total.errors == 0, "I4: no check failed");
	wrong += !stage_check_latency(&total, plan->timeout_ms, SLACK_MS);
	wrong += !tap_ok(crowd_read(&pack->crowd, &oracle) == 0, "their journals are read");
	wrong += stage_check_promise(&oracle, plan, &up, "but for hosts on their own") +
	         books_check(&pack->books, &oracle, plan) + stage_check_alone(&oracle, away, faults);
	for (uint32_t i = 0; i < pack->count; i++)
		well += host_is_running(&pack->host[i]) && host_stop(&pack->host[i]) == 0;
	wrong +=
		!tap_ok(well == pack->count, "I6: %u of %u agents were still there and ended well", well, pack->count);
	*checked = oracle.count + pack->books.count;
	oracle_free(&oracle);
	return wrong;
}

void pack_free(struct pack *pack) {
	books_free(&pack->books);
	crowd_free(&pack->crowd);
	cluster_close(&pack->cluster);
}
