/* private_network.c - see private_network.h. */
#include "private_network.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "process.h"
#include "tap.h"

#define COMMAND_MS 10000

bool private_network_enter(const char *cannot) {
	if (geteuid() == 0 && unshare(CLONE_NEWNET) == 0)
		return true;
	tap_skip("%s: no network of its own: %s", cannot, geteuid() != 0 ? "that needs root" : strerror(errno));
	return false;
}

bool private_network_run(const char *const *argv) {
	int status = process_run(argv, COMMAND_MS, NULL, 0, NULL);

	if (status != 0)
		tap_note("%s: exit %d", argv[0], status);
	return status == 0;
}

bool private_network_filter(const char *rules) {
	return private_network_run((const char *const[]){"nft", rules, NULL});
}

bool private_network_set(void) {
	static const char *const up[] = {"ip", "link", "set", "lo", "up", NULL};

	return tap_ok(private_network_run(up) &&
	                  private_network_filter("add table inet stint_test; add chain inet stint_test loss "
	                                         "{ type filter hook input priority 0 ; }"),
	              "a network of its own with a packet filter");
}

int private_network_stage(struct stage *stage, const struct scene *scene, uint32_t hosts, const char *server) {
	static const struct cluster_options listens = {
		.settings = {"listen_addresses=127.0.0.1", "port=" PRIVATE_PORT}};
	char database[256];

	snprintf(database, sizeof(database), "host=%s port=" PRIVATE_PORT " dbname=stint user=test_agent", server);
	stage_init(stage, scene);
	if (!tap_ok(cluster_start_with(&stage->cluster, scene, &listens) == 0 && cluster_install(&stage->cluster) == 0,
	            "a database listens in it"))
		return -1;
	return stage_hosts(stage, hosts, &(struct host_options){.database = database});
}
