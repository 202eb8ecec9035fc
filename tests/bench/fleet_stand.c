/* fleet_stand.c - see fleet_stand.h. */
#include "fleet_stand.h"

#include <stdio.h>
#include <string.h>

#include "server_cost.h"

#define IN_STEP_MS 20000

static int start_proxy(struct fault_proxy *proxy, const struct cluster *cluster, uint32_t rtt_ms) {
	char socket_path[108];
	uint32_t half_us = rtt_ms * 1000 / 2;

	cluster_socket(cluster, socket_path);
	if (fault_proxy_start(proxy, socket_path, 1) != 0) {
		perror("bench_fleet: proxy");
		return -1;
	}
	fault_proxy_set(proxy, &(struct fault_line){.delay_us = {half_us, half_us}});
	return 0;
}

static int add_host(struct stand *s, const struct scene *scene, const struct stand_options *options) {
	uint32_t h = s->host_count;
	char conninfo[256], name[32];
	const struct host_options how = {.database = conninfo, .max_clients = options->max_clients, .name = name};

	snprintf(name, sizeof(name), "host-%u", h);
	snprintf(conninfo, sizeof(conninfo), "%s", s->cluster.agent);
	if (options->rtt_ms > 0) {
		if (start_proxy(&s->proxies[h], &s->cluster, options->rtt_ms) != 0)
			return -1;
		fault_proxy_conninfo(&s->proxies[h], "test_agent", conninfo);
	}
	if (host_prepare(&s->hosts[h], scene, options->number + h, &how) != 0)
		return -1;
	s->host_count++;
	return host_start(&s->hosts[h]);
}

/* Apps attach when all agents are in step: the first check finds all there is. */
static int attach(struct stand *s, uint32_t h, const struct stand_options *options) {
	struct stint_options limit = {.policy = options->name,
	                              .max_requests = options->limit,
	                              .time_window_ms = options->window_ms};

	if (!host_wait_in_step(&s->hosts[h], IN_STEP_MS)) {
		fprintf(stderr, "bench_fleet: %s: host %u is not in step\n", options->name, h);
		return -1;
	}
	if (stint_open(&s->apps[h], s->hosts[h].socket) == 0 &&
	    stint_limiter_new(&s->limiters[h], s->apps[h], &limit) == 0)
		return 0;
	fprintf(stderr, "bench_fleet: %s: %s\n", options->name, stint_error_detail());
	return -1;
}

int stand_set(struct stand *s, const struct scene *scene, const struct stand_options *options) {
	memset(s, 0, sizeof(*s));
	if (cluster_start_with(&s->cluster, scene, &(struct cluster_options){.name = options->name}) != 0 ||
	    cluster_install(&s->cluster) != 0)
		return -1;
	for (uint32_t h = 0; h < options->hosts; h++)
		if (add_host(s, scene, options) != 0)
			return -1;
	for (uint32_t h = 0; h < options->hosts; h++)
		if (attach(s, h, options) != 0)
			return -1;
	return 0;
}

struct stand_counts stand_look(struct stand *s) {
	struct server_cost server = server_cost_look(&s->cluster);
	struct stand_counts counts = {.wal_bytes = server.wal_bytes, .cpu_ms = server.cpu_ms};

	for (uint32_t h = 0; h < s->host_count; h++) {
		counts.wants += (double)host_number(&s->hosts[h], "counters", "wants");
		counts.statements += (double)host_number(&s->hosts[h], "counters", "batches");
		counts.rows += (double)host_number(&s->hosts[h], "counters", "requests");
	}
	return counts;
}

void stand_strike(struct stand *s) {
	for (uint32_t h = 0; h < s->host_count; h++) {
		stint_limiter_free(s->limiters[h]);
		stint_close(s->apps[h]);
		host_stop(&s->hosts[h]);
		fault_proxy_stop(&s->proxies[h]);
	}
	cluster_close(&s->cluster);
	cluster_stop(&s->cluster);
}
