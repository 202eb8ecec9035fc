/* denials.c - the clients that are denied most, see denials.h. */
#include "denials.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CONFIRMATIONS 2

void denials_free(struct denials *denials) {
	for (size_t i = 0; i < denials->count; i++)
		free(denials->hours[i]);
	denials->count = 0;
}

/* ---- Adding up ---------------------------------------------------------------------- */

static struct denials_hour *find(const struct denials *denials, int64_t hour, uint16_t run, const char *policy) {
	for (size_t i = denials->count; i-- > 0;) {
		struct denials_hour *h = denials->hours[i];
		if (h->hour == hour && h->run == run && strcmp(h->policy, policy) == 0)
			return h;
	}
	return NULL;
}

static void remove_at(struct denials *denials, size_t i) {
	free(denials->hours[i]);
	denials->count--;
	memmove(&denials->hours[i], &denials->hours[i + 1], (denials->count - i) * sizeof(denials->hours[0]));
}

static struct denials_hour *begin_hour(struct denials *denials, int64_t hour, uint16_t run,
                                       const struct denial *denial) {
	struct denials_hour *h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	if (denials->count == DENIALS_MAX)
		remove_at(denials, 0);
	h->hour = hour;
	h->run = run;
	strncpy(h->policy, denial->policy, sizeof(h->policy) - 1);
	denials->hours[denials->count++] = h;
	return h;
}

void denials_add(struct denials *denials, int64_t hour, uint16_t run, const struct denial *denial) {
	struct denials_hour *h = find(denials, hour, run, denial->policy);
	if (!h)
		h = begin_hour(denials, hour, run, denial);
	if (h)
		sketch_add(&h->sketch, denial->client_id, denial->client_id_len, denial->reason, denial->count,
		           denial->variance);
}

/* ---- Handing in --------------------------------------------------------------------- */

/* The share that others have of what was taken to be this client's. Few looks that saw no other don't say that
 * there is none: by Wilson (1927), for two standard deviations, it is as if four more looks had seen others in
 * two. What the looks were is told by their squares: as many, alike, as give the same. */
static double share_of_others(const struct sketch *sketch, const struct sketch_client *client) {
	double others = fmax(1 - (double)client->count / (double)sketch->total, 0);
	double looks = (double)client->count * (double)sketch->total / client->variance;
	return (looks * others + 2) / (looks + 4);
}

/* What the sketch may have of others, and two standard deviations of what was estimated. Of a client whose share
 * is p that is p (1 - p) of the squares. */
static uint64_t error_of(const struct sketch *sketch, const struct sketch_client *client) {
	double deviation = client->variance > 0 ? sqrt(client->variance * share_of_others(sketch, client)) : 0;
	double error = fmin((double)client->over + ceil(2 * deviation), (double)client->count);
	return error < (double)INT64_MAX ? (uint64_t)error : INT64_MAX; /* counts may be scribbled */
}

/* Where most of the count was there before the client, it isn't one that is denied most. Who was looked at seldom
 * may be: its error says how sure that is. What was handed in must stay true. */
static bool is_worth_it(const struct sketch *sketch, const struct sketch_client *client) {
	return client->is_told || (sketch->told < SKETCH_TOLD_MAX && sketch_rank(sketch, client) < DENIALS_CLIENTS &&
	                           client->over <= client->count / 2);
}

static bool is_due(const struct denials *denials, const struct sketch *sketch,
                   const struct sketch_client *client) {
	if (client->is_under_way || client->confirmations >= CONFIRMATIONS || !is_worth_it(sketch, client))
		return false;
	return client->confirmations == 0 || client->round != denials->round;
}

static void choose_of_hour(const struct denials *denials, struct denials_hour *h, struct denial_row *rows,
                           size_t *chosen, size_t most) {
	for (unsigned i = 0; i < h->sketch.used && *chosen < most; i++) {
		struct sketch_client *client = &h->sketch.client[i];
		if (!is_due(denials, &h->sketch, client))
			continue;
		sketch_tell(&h->sketch, client);
		client->is_under_way = true;
		rows[(*chosen)++] = (struct denial_row){
			.hour = h->hour,
			.policy = h->policy,
			.client_id = client->id,
			.denied = client->count,
			.error = error_of(&h->sketch, client),
			.run = h->run,
			.reason = client->reason,
		};
	}
}

void denials_begin_round(struct denials *denials) {
	denials->round++;
}

size_t denials_choose(struct denials *denials, struct denial_row *rows, size_t most) {
	size_t chosen = 0;
	for (size_t i = 0; i < denials->count; i++)
		if (chosen == 0 || denials->hours[i]->run == rows[0].run)
			choose_of_hour(denials, denials->hours[i], rows, &chosen, most);
	return chosen;
}

static void end_statement(struct denials *denials, uint8_t confirmed) {
	for (size_t i = 0; i < denials->count; i++)
		for (unsigned j = 0; j < denials->hours[i]->sketch.used; j++) {
			struct sketch_client *client = &denials->hours[i]->sketch.client[j];
			if (client->is_under_way && confirmed > 0) {
				client->confirmations = (uint8_t)(client->confirmations + confirmed);
				client->round = denials->round;
			}
			client->is_under_way = false;
		}
}

static bool is_done(const struct denials_hour *h) {
	for (unsigned i = 0; i < h->sketch.used; i++)
		if (h->sketch.client[i].confirmations < CONFIRMATIONS && is_worth_it(&h->sketch, &h->sketch.client[i]))
			return false;
	return true;
}

void denials_recorded(struct denials *denials, int64_t hour) {
	end_statement(denials, 1);
	for (size_t i = denials->count; i-- > 0;)
		if (denials->hours[i]->hour != hour && is_done(denials->hours[i]))
			remove_at(denials, i);
}

void denials_unanswered(struct denials *denials) {
	end_statement(denials, 0);
}
