/*
 * fault_relay.h - the inside of fault_proxy.h: what the test and the proxy's
 * process share, and that process's work.
 */
#ifndef FAULT_RELAY_H
#define FAULT_RELAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fault_proxy.h"
#include "pg_frames.h"

/* Written by the test and read by the proxy, but for the last group. */
struct fault_controls {
	_Atomic uint32_t delay_us[2], jitter_us[2], bytes_per_s[2];
	_Atomic bool dark, refuse;
	_Atomic uint32_t cuts, resets; /* how many were asked for */

	_Atomic int aim; /* enum fault_aim; taken back by the proxy when it finds its statement */
	_Atomic uint32_t skip;
	char statement[PG_FRAMES_NAME]; /* written while there is no aim */

	_Atomic uint32_t hits, accepted, live;
};

/* Never returns. The listener is bound to its port and listens. */
void fault_relay_run(struct fault_controls *controls, int listener, int wake, const char *socket_path,
                     uint64_t seed) __attribute__((noreturn));

#endif
