/* load.c - see load.h. */
#include "load.h"

#include <math.h>
#include <stdlib.h>

#include "random.h"

static double policy_weight(const struct journal_policy *policy) {
	double sum = 0;

	for (uint32_t i = 0; i < policy->clients; i++)
		sum += pow(i + 1, -policy->skew);
	return sum;
}

static void fill_edges(struct load *load, double shares) {
	double edge = 0;
	uint32_t pair = 0;

	for (uint32_t p = 0; p < load->plan->policy_count; p++) {
		const struct journal_policy *policy = &load->plan->policy[p];
		double unit = policy->share / shares / policy_weight(policy);

		for (uint32_t i = 0; i < policy->clients; i++) {
			edge += pow(i + 1, -policy->skew) * unit;
			load->edges[pair++] = edge;
		}
	}
}

int load_init(struct load *load, const struct journal_plan *plan, uint64_t seed) {
	double shares = 0;

	*load = (struct load){.plan = plan, .random = seed};
	if (plan->each_once)
		return 0;
	for (uint32_t p = 0; p < plan->policy_count; p++) {
		load->pairs += plan->policy[p].clients;
		shares += plan->policy[p].share;
	}
	load->edges = calloc(load->pairs, sizeof(*load->edges));
	if (load->edges == NULL)
		return -1;
	fill_edges(load, shares);
	return 0;
}

void load_free(struct load *load) {
	free(load->edges);
	load->edges = NULL;
}

static uint32_t draw_pair(struct load *load) {
	double at = random_unit(&load->random);
	uint32_t low = 0, high = load->pairs - 1; /* rounding may leave the last edge below 1 */

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (load->edges[middle] > at)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

bool load_next(struct load *load, struct load_check *check) {
	const struct journal_policy *policy = load->plan->policy;
	uint32_t pair;

	if (load->plan->each_once) {
		*check = (struct load_check){.client = load->plan->first_client + (uint32_t)load->made,
		                             .cost = policy->cost_min};
		return load->made++ < policy->clients;
	}
	pair = draw_pair(load);
	*check = (struct load_check){0};
	while (pair >= policy[check->policy].clients)
		pair -= policy[check->policy++].clients;
	policy += check->policy;
	check->client = pair;
	check->cost = policy->cost_min + random_below(&load->random, policy->cost_max - policy->cost_min + 1);
	return true;
}
