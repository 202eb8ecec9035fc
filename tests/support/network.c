/* network.c - see network.h. */
#include "network.h"

#include <string.h>

#include "tap.h"

static int add_host(struct network *network, const char *socket_path, uint64_t seed) {
	struct fault_proxy *proxy = &network->proxy[network->stage.host_count];
	char conninfo[256];

	if (fault_proxy_start(proxy, socket_path, seed + network->stage.host_count) != 0)
		return -1;
	fault_proxy_conninfo(proxy, "test_agent", conninfo);
	return stage_add_host(&network->stage, &(struct host_options){.database = conninfo});
}

int network_set(struct network *network, const struct scene *scene, uint32_t host_count, uint64_t seed) {
	char socket_path[108];

	memset(network, 0, sizeof(*network));
	if (stage_set_database(&network->stage, scene) != 0)
		return -1;
	cluster_socket(&network->stage.cluster, socket_path);
	while (network->stage.host_count < host_count)
		if (add_host(network, socket_path, seed) != 0)
			return tap_ok(false, "host %u does not start", network->stage.host_count) ? 0 : -1;
	return stage_wait_in_step(&network->stage);
}

void network_strike(struct network *network) {
	for (uint32_t h = 0; h < STAGE_HOSTS; h++)
		fault_proxy_stop(&network->proxy[h]);
}

void network_fault(struct network *network, uint32_t host, const struct fault_line *line) {
	for (uint32_t h = 0; h < network->stage.host_count; h++)
		if (host == NETWORK_ALL || host == h)
			fault_proxy_set(&network->proxy[h], line);
}

void network_clear(struct network *network) {
	for (uint32_t h = 0; h < network->stage.host_count; h++)
		fault_proxy_clear(&network->proxy[h]);
}

void network_each(struct network *network, uint32_t host, void (*end)(struct fault_proxy *)) {
	for (uint32_t h = 0; h < network->stage.host_count; h++)
		if (host == NETWORK_ALL || host == h)
			end(&network->proxy[h]);
}
