/*
 * endpoints.c - see endpoints.h. Lists are split as libpq does it. When lists have lengths that don't fit
 * together, they stay as they are: libpq complains of them.
 */
#include "endpoints.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "errand.h"
#include "lookup.h"
#include "pg.h"
#include "search.h"

/* First an errand is given up after ERRAND_HANGS_MS, each time after twice as long, at most after so long. */
#define HANGS_MAX_MS 3600000

struct name {
	const char *text;
	struct lookup *lookup; /* NULL: none is under way */
	int64_t hangs_ms;      /* after so long it is given up */
	bool out;
	size_t count; /* of the addresses it had last */
	char address[LOOKUP_ADDRESSES_MAX][LOOKUP_ADDRESS_SIZE];
	char error[400]; /* "" when it isn't out */
};

struct endpoint {
	const char *host, *hostaddr, *port; /* "": libpq's default */
	struct name *name;                  /* NULL: there is nothing to look up */
};

struct endpoints {
	char *conninfo;
	struct search *search; /* NULL: none is under way */
	int64_t hangs_ms;
	const char *error;              /* why the last search is out; NULL: it isn't */
	bool known;                     /* the servers are known, by this search or an earlier one */
	struct pg_servers given, split; /* the lists, and copies in which commas are ends */
	size_t count;
	struct endpoint *endpoint; /* count; 0: as given */
	struct name *name;
	size_t name_count;
	int fd;
};

/* ---- Lists -------------------------------------------------------------------- */

static bool copy_servers(struct pg_servers *to, const struct pg_servers *from) {
	to->host = strdup(from->host);
	to->hostaddr = strdup(from->hostaddr);
	to->port = strdup(from->port);
	return to->host && to->hostaddr && to->port;
}

static size_t list_length(const char *list) {
	size_t length = 1;
	for (; *list != '\0'; list++)
		length += *list == ',';
	return length;
}

/* Cuts the first entry off a list; "" when the list is at its end. */
static const char *cut_entry(char **list) {
	char *entry = *list, *comma = strchr(entry, ',');
	if (comma)
		*comma = '\0';
	*list = comma ? comma + 1 : entry + strlen(entry);
	return entry;
}

static bool is_number(const char *host) {
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	bool number = getaddrinfo(host, NULL, &hints, &found) == 0;
	if (number)
		freeaddrinfo(found);
	return number;
}

static bool needs_lookup(const struct endpoint *endpoint) {
	const char *host = endpoint->host;
	bool is_socket = host[0] == '/' || host[0] == '@';
	return endpoint->hostaddr[0] == '\0' && host[0] != '\0' && !is_socket && !is_number(host);
}

static struct name *name_of(struct endpoints *e, const char *host) {
	for (size_t i = 0; i < e->name_count; i++)
		if (!strcmp(e->name[i].text, host))
			return &e->name[i];
	e->name[e->name_count] = (struct name){.text = host, .hangs_ms = ERRAND_HANGS_MS};
	return &e->name[e->name_count++];
}

static void split(struct endpoints *e) {
	char *host = e->split.host, *hostaddr = e->split.hostaddr, *port = e->split.port;
	bool same_port = !strchr(port, ',');
	for (size_t i = 0; i < e->count; i++) {
		struct endpoint *endpoint = &e->endpoint[i];
		endpoint->host = cut_entry(&host);
		endpoint->hostaddr = cut_entry(&hostaddr);
		endpoint->port = same_port ? port : cut_entry(&port);
		endpoint->name = needs_lookup(endpoint) ? name_of(e, endpoint->host) : NULL;
	}
}

/* How many servers they are; 0: the lists don't fit together. */
static size_t count_servers(const struct pg_servers *s) {
	size_t hosts = list_length(s->host), addresses = list_length(s->hostaddr), ports = list_length(s->port);
	size_t count = s->hostaddr[0] != '\0' ? addresses : hosts;
	bool fit =
		(s->hostaddr[0] == '\0' || s->host[0] == '\0' || hosts == addresses) && (ports == 1 || ports == count);
	return fit ? count : 0;
}

/* ---- The servers ------------------------------------------------------------------- */

static void forget_servers(struct endpoints *e) {
	for (size_t i = 0; i < e->name_count; i++)
		lookup_free(e->name[i].lookup);
	free(e->name);
	free(e->endpoint);
	pg_servers_free(&e->given);
	pg_servers_free(&e->split);
	e->name = NULL;
	e->endpoint = NULL;
	e->name_count = e->count = 0;
	e->known = false;
}

static bool are_those(const struct endpoints *e, const struct pg_servers *servers) {
	return e->known && !strcmp(e->given.host, servers->host) && !strcmp(e->given.hostaddr, servers->hostaddr) &&
	       !strcmp(e->given.port, servers->port);
}

/* False: no memory. */
static bool learn_servers(struct endpoints *e, const struct pg_servers *servers) {
	forget_servers(e);
	if (!copy_servers(&e->given, servers) || !copy_servers(&e->split, servers))
		return false;
	size_t count = count_servers(servers);
	e->endpoint = calloc(count + 1, sizeof(*e->endpoint));
	e->name = calloc(count + 1, sizeof(*e->name));
	if (!e->endpoint || !e->name)
		return false;
	e->count = count;
	e->known = true;
	split(e);
	return true;
}

/* ---- Making and freeing ------------------------------------------------------------ */

int endpoints_new(struct endpoints **out, const char *conninfo) {
	struct endpoints *e = *out = calloc(1, sizeof(*e));
	if (!e)
		return -1;
	e->hangs_ms = ERRAND_HANGS_MS;
	e->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	e->conninfo = strdup(conninfo);
	if (e->fd >= 0 && e->conninfo)
		return 0;
	endpoints_free(e);
	*out = NULL;
	return -1;
}

void endpoints_free(struct endpoints *e) {
	if (!e)
		return;
	search_free(e->search);
	forget_servers(e);
	free(e->conninfo);
	if (e->fd >= 0)
		close(e->fd);
	free(e);
}

/* ---- Looking up ---------------------------------------------------------------------- */

static void fail(struct name *name, const char *why) {
	name->out = true;
	snprintf(name->error, sizeof(name->error), "%.256s: %s", name->text, why);
}

static void receive_answer(struct name *name) {
	struct lookup *lookup = name->lookup;
	size_t count = lookup_count(lookup);
	name->lookup = NULL;
	name->hangs_ms = ERRAND_HANGS_MS;
	if (count > 0) {
		name->count = count;
		for (size_t i = 0; i < count; i++)
			snprintf(name->address[i], sizeof(name->address[i]), "%s", lookup_address(lookup, i));
		name->out = false;
		name->error[0] = '\0';
	} else {
		fail(name, lookup_error(lookup));
	}
	lookup_free(lookup);
}

static int64_t twice(int64_t hangs_ms) {
	return hangs_ms < HANGS_MAX_MS / 2 ? 2 * hangs_ms : HANGS_MAX_MS;
}

static void look_up(struct endpoints *e, struct name *name) {
	if (name->lookup && lookup_give_up(name->lookup, name->hangs_ms)) {
		name->lookup = NULL;
		name->hangs_ms = twice(name->hangs_ms);
	}
	if (!name->lookup && lookup_start(&name->lookup, name->text, e->fd) != 0)
		fail(name, "no thread, descriptor or memory to look it up with");
}

static void look_up_all(struct endpoints *e) {
	for (size_t i = 0; i < e->name_count; i++)
		look_up(e, &e->name[i]);
}

static void search(struct endpoints *e) {
	if (e->search && search_give_up(e->search, e->hangs_ms)) {
		e->search = NULL;
		e->hangs_ms = twice(e->hangs_ms);
	}
	if (!e->search && search_start(&e->search, e->conninfo, e->fd) != 0)
		e->error = "no thread, descriptor or memory to search for the servers with";
}

/* A service file may name others than before. */
static void receive_servers(struct endpoints *e) {
	struct pg_servers servers;
	bool found = search_receive(e->search, &servers);
	search_free(e->search);
	e->search = NULL;
	e->hangs_ms = ERRAND_HANGS_MS;
	e->error = found && (are_those(e, &servers) || learn_servers(e, &servers)) ? NULL : "out of memory";
	pg_servers_free(&servers);
	look_up_all(e);
}

static void receive_answers(struct endpoints *e) {
	if (e->search && search_is_over(e->search))
		receive_servers(e);
	for (size_t i = 0; i < e->name_count; i++)
		if (e->name[i].lookup && lookup_is_over(e->name[i].lookup))
			receive_answer(&e->name[i]);
}

void endpoints_look_up(struct endpoints *e) {
	receive_answers(e);
	search(e);
	if (!e->search)
		look_up_all(e);
}

int endpoints_fd(const struct endpoints *e) {
	return e->fd;
}

void endpoints_read(struct endpoints *e) {
	eventfd_t ended;
	eventfd_read(e->fd, &ended);
	receive_answers(e);
}

bool endpoints_are_settled(const struct endpoints *e) {
	bool usable = endpoints_are_usable(e);
	if (e->search)
		return false;
	for (size_t i = 0; i < e->name_count; i++)
		if (e->name[i].lookup && !(e->name[i].out && usable))
			return false;
	return true;
}

int endpoints_patience_ms(const struct endpoints *e, int timeout_ms) {
	return endpoints_are_usable(e) ? timeout_ms / 2 : timeout_ms;
}

void endpoints_settle(struct endpoints *e) {
	receive_answers(e);
	if (e->search)
		e->error = "the connection service file can't be read: its file system doesn't answer";
	for (size_t i = 0; i < e->name_count; i++)
		if (e->name[i].lookup)
			fail(&e->name[i], "the name servers don't answer");
}

/* ---- What is known -------------------------------------------------------------------- */

static size_t address_count(const struct endpoint *endpoint) {
	return endpoint->name ? endpoint->name->count : 1;
}

static size_t address_total(const struct endpoints *e) {
	size_t total = 0;
	for (size_t i = 0; i < e->count; i++)
		total += address_count(&e->endpoint[i]);
	return total;
}

bool endpoints_are_usable(const struct endpoints *e) {
	return e->known && !e->search && (e->count == 0 || address_total(e) > 0);
}

bool endpoints_are_several(const struct endpoints *e) {
	return address_total(e) > 1;
}

bool endpoints_are_remembered(const struct endpoints *e) {
	if (e->error && e->known)
		return true;
	for (size_t i = 0; i < e->name_count; i++)
		if (e->name[i].out && e->name[i].count > 0)
			return true;
	return false;
}

const char *endpoints_error(const struct endpoints *e) {
	if (e->error)
		return e->error;
	for (size_t i = 0; i < e->name_count; i++)
		if (e->name[i].out)
			return e->name[i].error;
	return "";
}

/* ---- Lists for libpq ------------------------------------------------------------------- */

typedef const char *field_of(const struct endpoint *, size_t address);

static const char *host_of(const struct endpoint *endpoint, size_t address) {
	(void)address;
	return endpoint->host;
}

static const char *hostaddr_of(const struct endpoint *endpoint, size_t address) {
	return endpoint->name ? endpoint->name->address[address] : endpoint->hostaddr;
}

static const char *port_of(const struct endpoint *endpoint, size_t address) {
	(void)address;
	return endpoint->port;
}

static const char *field_at(const struct endpoints *e, size_t number, field_of *field) {
	const struct endpoint *endpoint = e->endpoint;
	for (; number >= address_count(endpoint); endpoint++)
		number -= address_count(endpoint);
	return field(endpoint, number);
}

/* One field of each address, with commas between them; NULL: no memory. */
static char *join(const struct endpoints *e, unsigned first, field_of *field) {
	size_t total = address_total(e), size = 1;
	for (size_t i = 0; i < total; i++)
		size += strlen(field_at(e, i, field)) + 1;
	char *list = malloc(size), *end = list;
	for (size_t i = 0; list && i < total; i++)
		end = stpcpy(stpcpy(end, i > 0 ? "," : ""), field_at(e, (first + i) % total, field));
	if (list)
		*end = '\0';
	return list;
}

int endpoints_list(const struct endpoints *e, unsigned first, struct pg_servers *out) {
	bool copied;
	*out = (struct pg_servers){.host = NULL};
	if (e->count == 0) {
		copied = copy_servers(out, &e->given);
	} else {
		out->host = join(e, first, host_of);
		out->hostaddr = join(e, first, hostaddr_of);
		out->port = join(e, first, port_of);
		copied = out->host && out->hostaddr && out->port;
	}
	if (copied)
		return 0;
	pg_servers_free(out);
	return -1;
}
