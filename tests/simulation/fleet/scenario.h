/*
 * scenario.h - a fleet, its clients and their limit, and what is to be reached there.
 */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLEET_HOSTS_MAX   1000u
#define FLEET_CLIENTS_MAX 1000000u

enum incident {
	NO_INCIDENT,
	BURSTS,   /* clients stop, and then each sends many checks at once */
	RESTARTS, /* all agents are killed within a second, and start again */
	OUTAGE,   /* the database was away for a minute before figures count */
};

/* 0: nothing is said of it. */
struct reach {
	double rows;       /* at most, for 1,000 checks */
	double wait;       /* at most, of 100 checks */
	double exact;      /* at least, of 100 that an exact log admits */
	double hot_rows;   /* at most, a second, of the hot client */
	double in_reach_s; /* at most, after an incident */
	double wait_ratio; /* at most, of a check while its host charges what a fallback admitted, and one before */
};

struct scenario {
	const char *name;
	uint32_t hosts, clients;
	double rate; /* checks of a client in a second; on average, if not all have the same */
	bool by_zipf;
	bool is_sticky;  /* a client is always sent to the same host; otherwise each check to any */
	bool is_uneven;  /* the n-th host gets 1/n of what the first does */
	double hot_rate; /* of client 0, beside the others; 0: it is one of them */
	int32_t limit;
	int64_t window_ms;
	int resolution;
	int64_t rtt_us; /* from an agent to the database and back */
	double warm_s, counted_s;
	enum incident incident;
	uint32_t burst;   /* checks of one */
	int64_t again_ms; /* who is denied in a burst asks again after so long, for as long as BURST_MS; 0: doesn't */
	uint32_t locked;  /* rows of the first clients that somebody else has locked, from when figures count */
	uint32_t processors; /* of the database */
	struct reach reach;
};

#define BURST_MS 250

extern const struct scenario scenarios[];
extern const size_t scenario_count;

const struct scenario *scenario_find(const char *name);
/* Fewer clients and shorter, for about so many checks; windows are as they were. */
void scenario_shorten(struct scenario *, double checks);
void scenario_describe(const struct scenario *, char *text, size_t size);

#endif
