/* lookup.c - see lookup.h. */
#include "lookup.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "errand.h"

struct lookup {
	struct errand errand;
	int error; /* EAI_...; 0: none */
	size_t count;
	char address[LOOKUP_ADDRESSES_MAX][LOOKUP_ADDRESS_SIZE];
	char name[]; /* with its NUL */
};

static void add_address(struct lookup *lookup, const struct addrinfo *found) {
	char *address = lookup->address[lookup->count];
	if (getnameinfo(found->ai_addr, found->ai_addrlen, address, LOOKUP_ADDRESS_SIZE, NULL, 0, NI_NUMERICHOST) == 0)
		lookup->count++;
}

static void look_up(struct errand *errand) {
	struct lookup *lookup = (struct lookup *)errand;
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}; /* as libpq asks */
	struct addrinfo *found = NULL;
	lookup->error = getaddrinfo(lookup->name, NULL, &hints, &found);
	if (lookup->error != 0)
		return;
	for (const struct addrinfo *f = found; f && lookup->count < LOOKUP_ADDRESSES_MAX; f = f->ai_next)
		add_address(lookup, f);
	freeaddrinfo(found);
}

static void free_lookup(struct errand *errand) {
	free(errand);
}

int lookup_start(struct lookup **out, const char *name, int wake_fd) {
	size_t size = strlen(name) + 1;
	struct lookup *lookup = *out = calloc(1, sizeof(*lookup) + size);
	if (!lookup)
		return -1;
	memcpy(lookup->name, name, size);
	lookup->errand = (struct errand){.run = look_up, .free = free_lookup};
	if (errand_start(&lookup->errand, wake_fd) == 0)
		return 0;
	free(lookup);
	*out = NULL;
	return -1;
}

void lookup_free(struct lookup *lookup) {
	errand_leave((struct errand *)lookup);
}

bool lookup_give_up(struct lookup *lookup, int64_t hangs_ms) {
	return errand_give_up((struct errand *)lookup, hangs_ms);
}

bool lookup_is_over(const struct lookup *lookup) {
	return errand_is_over(&lookup->errand);
}

size_t lookup_count(const struct lookup *lookup) {
	return lookup->count;
}

const char *lookup_address(const struct lookup *lookup, size_t index) {
	return lookup->address[index];
}

const char *lookup_error(const struct lookup *lookup) {
	return lookup->error != 0 ? gai_strerror(lookup->error) : "it has no address";
}
