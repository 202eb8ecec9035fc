/* probe.c - see probe.h. */
#include "probe.h"

int probe_open(struct probe *probe, const struct host *host, const struct stint_options *options) {
	int error;

	*probe = (struct probe){0};
	error = stint_open(&probe->stint, host->socket);
	return error != 0 ? error : stint_limiter_new(&probe->limiter, probe->stint, options);
}

void probe_close(struct probe *probe) {
	stint_limiter_free(probe->limiter);
	stint_close(probe->stint);
	*probe = (struct probe){0};
}

int probe_once(const struct host *host, const struct stint_options *options, const char *client) {
	struct stint_result result = {0};
	struct probe probe;
	bool admitted;

	admitted = probe_open(&probe, host, options) == 0 && stint_check(probe.limiter, client, 1, &result) == 0 &&
	           result.allowed;
	probe_close(&probe);
	return admitted ? (int)result.source : 0;
}
