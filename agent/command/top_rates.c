/* top_rates.c - see top_rates.h. */
#include "top_rates.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE_MAX 256 /* bytes; no sample of a decision is longer */

const char *const top_outcome_names[TOP_OUTCOMES] = {"allowed", "denied", "shadow_denied"};
const char *const top_source_names[TOP_SOURCES] = {"lease", "database", "fallback", "local", "advance"};

/* ---- Reading ----------------------------------------------------------------------------- */

static struct top_policy *find(const struct top_scrape *scrape, const char *name) {
	for (size_t i = scrape->count; i > 0; i--) /* samples of a policy follow one another: it is mostly the last */
		if (strcmp(scrape->policies[i - 1].name, name) == 0)
			return &scrape->policies[i - 1];
	return NULL;
}

static struct top_policy *add(struct top_scrape *scrape, const char *name) {
	struct top_policy *grown = reallocarray(scrape->policies, scrape->count + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	scrape->policies = grown;
	struct top_policy *policy = &grown[scrape->count++];
	*policy = (struct top_policy){0};
	snprintf(policy->name, sizeof(policy->name), "%s", name);
	return policy;
}

static void count(uint64_t *counts, const char *const *names, size_t name_count, const char *name, uint64_t n) {
	for (size_t i = 0; i < name_count; i++)
		if (strcmp(names[i], name) == 0)
			counts[i] += n;
}

static int read_sample(struct top_scrape *scrape, const char *line) {
	char name[STINT_POLICY_NAME_MAX + 1], outcome[32], source[32];
	uint64_t n;
	_Static_assert(STINT_POLICY_NAME_MAX == 63, "as in the format");
	if (sscanf(line,
	           "stint_decisions_total{policy=\"%63[^\"]\",outcome=\"%31[^\"]\",source=\"%31[^\"]\"} %" SCNu64,
	           name, outcome, source, &n) != 4)
		return 0;
	struct top_policy *policy = find(scrape, name);
	if (!policy)
		policy = add(scrape, name);
	if (!policy)
		return -1;
	policy->decisions += n;
	count(policy->by_outcome, top_outcome_names, TOP_OUTCOMES, outcome, n);
	count(policy->by_source, top_source_names, TOP_SOURCES, source, n);
	return 0;
}

int top_scrape_read(struct top_scrape *scrape, const char *text, size_t size) {
	char line[SAMPLE_MAX];
	int error = 0;
	for (const char *end = text + size; text < end && error == 0;) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));
		size_t length = (size_t)((stop ? stop : end) - text);
		if (length < sizeof(line)) {
			memcpy(line, text, length);
			line[length] = '\0';
			error = read_sample(scrape, line);
		}
		text += length + 1;
	}
	return error;
}

void top_scrape_free(struct top_scrape *scrape) {
	free(scrape->policies);
	*scrape = (struct top_scrape){0};
}

/* ---- Rates --------------------------------------------------------------------------------- */

double top_seconds(const struct top_scrape *before, const struct top_scrape *now) {
	if (before->at_ns == 0 || now->at_ns <= before->at_ns || strcmp(before->agent, now->agent) != 0)
		return 0;
	return (double)(now->at_ns - before->at_ns) / 1e9;
}

static bool has_gone_back(const uint64_t *before, const uint64_t *now, size_t n) {
	for (size_t i = 0; i < n; i++)
		if (now[i] < before[i])
			return true;
	return false;
}

/* Whether the later counts are the earlier ones and more. */
static bool goes_on(const struct top_policy *before, const struct top_policy *now) {
	return before && now->decisions >= before->decisions &&
	       !has_gone_back(before->by_outcome, now->by_outcome, TOP_OUTCOMES) &&
	       !has_gone_back(before->by_source, now->by_source, TOP_SOURCES);
}

#define ROUNDED_MAX 1e12 /* far above what a host can decide */

/* Rounded to thousandths. seconds 0: null. */
static json_t *rate(uint64_t before, uint64_t now, double seconds) {
	if (seconds <= 0)
		return json_null();
	double exact = (double)(now - before) / seconds;
	return json_real(exact < ROUNDED_MAX ? (double)(int64_t)(exact * 1000 + 0.5) / 1000 : exact);
}

static void set_rates(json_t *object, const char *const *names, size_t n, const uint64_t *before,
                      const uint64_t *now, double seconds) {
	for (size_t i = 0; i < n; i++)
		json_object_set_new(object, names[i], rate(before[i], now[i], seconds));
}

static json_t *policy_rates(const struct top_policy *before, const struct top_policy *now, double seconds) {
	static const struct top_policy none;
	json_t *object = json_object();
	bool known = goes_on(before, now);
	if (!known) {
		before = &none;
		seconds = 0;
	}
	json_object_set_new(object, "policy", json_string(now->name));
	json_object_set_new(object, "decisions", rate(before->decisions, now->decisions, seconds));
	set_rates(object, top_outcome_names, TOP_OUTCOMES, before->by_outcome, now->by_outcome, seconds);
	set_rates(object, top_source_names, TOP_SOURCES, before->by_source, now->by_source, seconds);
	return object;
}

/* What isn't known comes last. */
static double order_of(const json_t *rates) {
	const json_t *decisions = json_object_get(rates, "decisions");
	return json_is_real(decisions) ? json_real_value(decisions) : -1;
}

static int compare(const void *a, const void *b) {
	const json_t *left = *(json_t *const *)a, *right = *(json_t *const *)b;
	if (order_of(left) != order_of(right))
		return order_of(left) < order_of(right) ? 1 : -1;
	return strcmp(json_string_value(json_object_get(left, "policy")),
	              json_string_value(json_object_get(right, "policy")));
}

json_t *top_rates(const struct top_scrape *before, const struct top_scrape *now) {
	json_t *sorted = json_array(), **all = calloc(now->count + 1, sizeof(json_t *));
	double seconds = top_seconds(before, now);
	if (!all)
		return sorted;
	for (size_t i = 0; i < now->count; i++)
		all[i] = policy_rates(find(before, now->policies[i].name), &now->policies[i], seconds);
	qsort(all, now->count, sizeof(json_t *), compare);
	for (size_t i = 0; i < now->count; i++)
		json_array_append_new(sorted, all[i]);
	free(all);
	return sorted;
}
