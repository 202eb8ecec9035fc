/* scraper.c - metrics for whoever wants them, by turns; see scraper.h. */
#include "scraper.h"

#include <event2/event.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "metrics_facts.h"

/* Of apps' questions for metrics, which `stint metrics` and `stint top` ask. Each waits for those before it. */
#define MESSAGES_MAX 64

struct scraper_job {
	TAILQ_ENTRY(scraper_job) link;
	struct scraper *scraper;
	struct metrics_scrape *scrape; /* NULL: it hasn't begun */
	scraper_sink *sink;
	void *context;
};

TAILQ_HEAD(job_queue, scraper_job);

struct scraper {
	const struct status_sources *sources;
	struct event *turn;
	struct job_queue jobs; /* the first is under way */
	int messages;
};

struct message { /* of an app that waits */
	struct scraper *scraper;
	server_peer peer;
	uint32_t serial;
};

/* ---- By turns ------------------------------------------------------------------------ */

/* With a timer the loop looks at everything else in between; an event that is made active goes before that. */
static void go_on(struct scraper *scraper) {
	static const struct timeval at_once = {0};
	if (!TAILQ_EMPTY(&scraper->jobs))
		event_add(scraper->turn, &at_once);
}

void scraper_cancel(struct scraper_job *job) {
	TAILQ_REMOVE(&job->scraper->jobs, job, link);
	metrics_scrape_free(job->scrape);
	free(job);
}

/* The sink is told when nothing is left to be done, since it may begin another job. */
static void take_turn(struct scraper *scraper, struct scraper_job *job) {
	scraper_sink *sink = job->sink;
	void *context = job->context;
	size_t size = 0;
	bool more = false;
	if (!job->scrape)
		job->scrape = metrics_scrape_new(scraper->sources);
	char *text = job->scrape ? metrics_scrape_next(job->scrape, &size, &more) : NULL;
	more = text && more;
	if (!more)
		scraper_cancel(job);
	go_on(scraper);
	sink(context, text, text ? size : 0, more);
	free(text);
}

static void on_turn(evutil_socket_t fd, short what, void *context) {
	struct scraper *scraper = context;
	(void)fd;
	(void)what;
	if (!TAILQ_EMPTY(&scraper->jobs))
		take_turn(scraper, TAILQ_FIRST(&scraper->jobs));
}

struct scraper_job *scraper_begin(struct scraper *scraper, scraper_sink *sink, void *context) {
	struct scraper_job *job = calloc(1, sizeof(*job));
	if (!job)
		return NULL;
	job->scraper = scraper;
	job->sink = sink;
	job->context = context;
	TAILQ_INSERT_TAIL(&scraper->jobs, job, link);
	go_on(scraper);
	return job;
}

/* ---- Apps that ask ---------------------------------------------------------------------- */

static void send_piece(void *context, const char *text, size_t size, bool more) {
	struct message *message = context;
	if (size > 0 || !more)
		status_send_text(message->scraper->sources, message->peer, message->serial, text ? text : "", size, more);
	if (!more) {
		message->scraper->messages--;
		free(message);
	}
}

void scraper_on_message(struct scraper *scraper, server_peer peer, uint32_t serial) {
	struct message *message = scraper->messages < MESSAGES_MAX ? malloc(sizeof(*message)) : NULL;
	if (message) {
		*message = (struct message){.scraper = scraper, .peer = peer, .serial = serial};
		if (scraper_begin(scraper, send_piece, message)) {
			scraper->messages++;
			return;
		}
	}
	free(message);
	status_send_text(scraper->sources, peer, serial, "", 0, false);
}

/* ---- Beginning and end ------------------------------------------------------------------ */

struct scraper *scraper_new(struct event_base *base, const struct status_sources *sources) {
	struct scraper *scraper = calloc(1, sizeof(*scraper));
	if (!scraper)
		return NULL;
	scraper->sources = sources;
	TAILQ_INIT(&scraper->jobs);
	scraper->turn = evtimer_new(base, on_turn, scraper);
	if (scraper->turn)
		return scraper;
	free(scraper);
	return NULL;
}

void scraper_free(struct scraper *scraper) {
	if (!scraper)
		return;
	while (!TAILQ_EMPTY(&scraper->jobs)) {
		struct scraper_job job = *TAILQ_FIRST(&scraper->jobs);
		scraper_cancel(TAILQ_FIRST(&scraper->jobs));
		job.sink(job.context, NULL, 0, false);
	}
	event_free(scraper->turn);
	free(scraper);
}
