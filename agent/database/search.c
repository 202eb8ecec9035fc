/* search.c - see search.h. */
#include "search.h"

#include <stdlib.h>
#include <string.h>

#include "errand.h"
#include "pg.h"

struct search {
	struct errand errand;
	int result; /* of pg_find_servers() */
	struct pg_servers servers;
	char conninfo[]; /* with its NUL */
};

static void find_them(struct errand *errand) {
	struct search *search = (struct search *)errand;
	search->result = pg_find_servers(search->conninfo, &search->servers);
}

static void free_search(struct errand *errand) {
	struct search *search = (struct search *)errand;
	pg_servers_free(&search->servers);
	free(search);
}

int search_start(struct search **out, const char *conninfo, int wake_fd) {
	size_t size = strlen(conninfo) + 1;
	struct search *search = *out = calloc(1, sizeof(*search) + size);
	if (!search)
		return -1;
	memcpy(search->conninfo, conninfo, size);
	search->errand = (struct errand){.run = find_them, .free = free_search};
	if (errand_start(&search->errand, wake_fd) == 0)
		return 0;
	free(search);
	*out = NULL;
	return -1;
}

void search_free(struct search *search) {
	errand_leave((struct errand *)search);
}

bool search_give_up(struct search *search, int64_t hangs_ms) {
	return errand_give_up((struct errand *)search, hangs_ms);
}

bool search_is_over(const struct search *search) {
	return errand_is_over(&search->errand);
}

bool search_receive(struct search *search, struct pg_servers *out) {
	*out = search->servers;
	search->servers = (struct pg_servers){.host = NULL};
	return search->result == 0;
}
