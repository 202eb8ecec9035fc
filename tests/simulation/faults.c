/* faults.c - what may go wrong in the world of a seed: each known combination in turn, and in every other world
 * a mixture. */
#include "world.h"

static const struct faults known[] = {
	{.name = "calm"},
	{.name = "fixed window", .fixed = true, .lost = 3, .rejected = 5},
	{.name = "slow database", .slow = true, .rejected = 10},
	{.name = "lost replies", .lost = 10, .rejected = 10, .slow = true},
	{.name = "rows locked", .locked = 10},
	{.name = "rows locked, lost replies", .locked = 30, .lost = 5, .away = 30},
	{.name = "rows locked, relaxed", .locked = 20, .relaxed = true, .away = 30, .lost = 3},
	{.name = "database away", .lost = 5, .away = 60},
	{.name = "database crashes", .database_crashes = 4, .away = 30},
	{.name = "agents crash", .agent_crashes = 6, .lost = 5},
	{.name = "agents crash, database away", .agent_crashes = 8, .lost = 15, .away = 70},
	{.name = "agents killed, up to two seconds away", .agent_crashes = 6, .long_absences = true},
	{.name = "agents stopped, up to two seconds", .agent_pauses = 4, .long_absences = true, .app_pauses = 5},
	{.name = "agents are stopped", .agent_pauses = 5, .lost = 2},
	{.name = "apps die and are stopped", .app_deaths = 5, .app_pauses = 10, .duplicated = 5, .dropped = 20},
	{.name = "crowded", .crowded = true, .lost = 2},
	{.name = "policy changes", .policy_changes = true, .lost = 5, .away = 40, .slow = true},
	{.name = "relaxed", .relaxed = true},
	{.name = "relaxed, lost replies", .relaxed = true, .lost = 5, .rejected = 10},
	{.name = "promotion", .promotions = 1, .lost = 2},
	{.name = "promotion that loses commits",
     .promotions = 2,
     .loses_commits = true,
     .lost = 2,
     .agent_crashes = 1},
	{.name = "promotion, fixed window", .promotions = 1, .loses_commits = true, .fixed = true},
	{.name = "clock set back", .steps_back = 2, .lost = 2},
	{.name = "clock set forward", .steps_forward = 2, .lost = 2},
	{.name = "leases called back", .mistaken = 20, .duplicated = 20, .dropped = 20},
	{.name = "leases called back, long windows",
     .mistaken = 20,
     .duplicated = 20,
     .long_windows = true,
     .agent_crashes = 2},
	{.name = "leases called back, lost replies",
     .mistaken = 30,
     .duplicated = 20,
     .lost = 10,
     .away = 30,
     .app_pauses = 10},
	{.name = "long windows", .long_windows = true},
	{.name = "long windows, lost replies", .long_windows = true, .lost = 2, .agent_crashes = 2},
	{.name = "refunds", .refunds = 30, .app_pauses = 5, .mistaken = 10},
	{.name = "refunds, lost replies", .refunds = 30, .lost = 10, .away = 40, .agent_crashes = 2},
	{.name = "refunds, long windows", .refunds = 30, .long_windows = true, .lost = 2},
	{.name = "refunds, fixed window", .refunds = 30, .fixed = true, .lost = 2},
};

#define KNOWN (sizeof(known) / sizeof(known[0]))

static uint32_t some(uint64_t *random, uint32_t most) {
	return random_below(random, 2) ? random_below(random, most + 1) : 0;
}

static struct faults mixture(uint64_t seed) {
	uint64_t random = seed ^ 0x9e3779b97f4a7c15;
	struct faults faults = {
		.name = "mixture",
		.lost = some(&random, 15),
		.rejected = some(&random, 15),
		.away = some(&random, 70),
		.dropped = some(&random, 50),
		.duplicated = some(&random, 20),
		.app_deaths = some(&random, 10),
		.app_pauses = some(&random, 20),
		.agent_crashes = some(&random, 6),
		.agent_pauses = some(&random, 4),
		.long_absences = random_below(&random, 4) == 0,
		.database_crashes = some(&random, 3),
		.promotions = some(&random, 2),
		.loses_commits = random_below(&random, 2),
		.steps_back = some(&random, 2),
		.slow = random_below(&random, 2),
		.crowded = random_below(&random, 4) == 0,
		.fixed = random_below(&random, 4) == 0,
		.relaxed = random_below(&random, 4) == 0,
		.long_windows = random_below(&random, 16) == 0,
		.locked = some(&random, 15),
		.mistaken = some(&random, 30),
		.refunds = some(&random, 20),
	};
	return faults;
}

struct faults faults_of(uint64_t seed) {
	return seed % 2 ? known[seed / 2 % KNOWN] : mixture(seed);
}
