/*
 * ip_client.c - makes client ids of addresses.
 *
 * Equal addresses must give equal ids, however they are spelled: else a client would have several limits. So the
 * text is read here into 16 bytes, cut to its prefix, and written anew in one way, that of RFC 5952. What could be
 * read in two ways is refused.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "error.h"
#include "stint.h"
#include "text.h"

#define GROUPS       8
#define IPV4_BYTES   4
#define IPV6_BYTES   16
#define IPV6_DEFAULT 64

/* The zone of fe80::1%eth0 is a name of an interface, or its number. None is longer. */
#define ZONE_MAX 64

/* So much of an address that can't be read is told. It may come from a request, so it may hold anything. */
#define TOLD_MAX 64

/* An IPv4 address is in the first four bytes. */
struct address {
	uint8_t bytes[IPV6_BYTES];
	bool is_ipv4;
};

/* ---- Reading --------------------------------------------------------------- */

struct reader {
	const char *at, *end;
};

static bool is_at(const struct reader *r, char c) {
	return r->at < r->end && *r->at == c;
}

static bool skip(struct reader *r, char c) {
	if (!is_at(r, c))
		return false;
	r->at++;
	return true;
}

static int digit_of(char c) {
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Reads a number of up to so many digits. */
static bool read_number(struct reader *r, int base, int digits_max, unsigned *number) {
	int count = 0;
	*number = 0;
	for (; r->at < r->end; r->at++) {
		int digit = digit_of(*r->at);
		if (digit < 0 || digit >= base)
			break;
		if (++count > digits_max)
			return false;
		*number = *number * (unsigned)base + (unsigned)digit;
	}
	return count > 0;
}

/* A leading 0 is refused: some programs take 010 for 8. */
static bool read_ipv4(struct reader *r, uint8_t *bytes) {
	for (int i = 0; i < IPV4_BYTES; i++) {
		if (i > 0 && !skip(r, '.'))
			return false;
		const char *start = r->at;
		unsigned number;
		if (!read_number(r, 10, 3, &number) || number > 255 || (*start == '0' && r->at - start > 1))
			return false;
		bytes[i] = (uint8_t)number;
	}
	return true;
}

/* Whether a dot ends the digits that come now. */
static bool is_ipv4_next(const struct reader *r) {
	const char *c = r->at;
	while (c < r->end && *c >= '0' && *c <= '9')
		c++;
	return c < r->end && *c == '.';
}

/* What a text of IPv6 holds: groups of two bytes, and where "::" stands among them. */
struct groups {
	uint8_t bytes[IPV6_BYTES];
	int count; /* in bytes */
	int gap;   /* in bytes from the start; -1: there is none */
};

/* Reads a group, or the IPv4 address that may be in place of the last two. */
static bool read_group(struct reader *r, struct groups *g) {
	unsigned number;
	if (is_ipv4_next(r)) {
		if (g->count > IPV6_BYTES - IPV4_BYTES || !read_ipv4(r, g->bytes + g->count))
			return false;
		g->count += IPV4_BYTES;
		return !is_at(r, ':');
	}
	if (g->count == IPV6_BYTES || !read_number(r, 16, 4, &number))
		return false;
	g->bytes[g->count++] = (uint8_t)(number >> 8);
	g->bytes[g->count++] = (uint8_t)number;
	return true;
}

/* Reads a colon that isn't at the start; of two of them, the gap. Returns false if the address ends before it. */
static bool read_separator(struct reader *r, struct groups *g) {
	if (!is_at(r, ':'))
		return false;
	if (r->end - r->at >= 2 && r->at[1] == ':' && g->gap < 0) {
		r->at += 2;
		g->gap = g->count;
		return r->at < r->end && digit_of(*r->at) >= 0;
	}
	r->at++;
	return true;
}

static bool read_groups(struct reader *r, struct groups *g) {
	*g = (struct groups){.gap = -1};
	if (is_at(r, ':') && !(r->end - r->at >= 2 && r->at[1] == ':'))
		return false;
	if (is_at(r, ':') && !read_separator(r, g))
		return true;
	do {
		if (!read_group(r, g))
			return false;
	} while (read_separator(r, g));
	return g->gap < 0 ? g->count == IPV6_BYTES : g->count < IPV6_BYTES;
}

static bool read_ipv6(struct reader *r, uint8_t *bytes) {
	struct groups g;
	if (!read_groups(r, &g))
		return false;
	int before = g.gap < 0 ? g.count : g.gap, after = g.count - before;
	memset(bytes, 0, IPV6_BYTES);
	memcpy(bytes, g.bytes, (size_t)before);
	memcpy(bytes + IPV6_BYTES - after, g.bytes + before, (size_t)after);
	return true;
}

/* The zone is skipped: it is a name of the server's own, and where the address comes from a header, of anybody's
 * choice. */
static bool skip_zone(struct reader *r) {
	if (!skip(r, '%'))
		return true;
	const char *start = r->at;
	while (r->at<r->end && * r->at> ' ' && *r->at < 0x7f && *r->at != ']' && *r->at != '/')
		r->at++;
	return r->at > start && r->at - start <= ZONE_MAX;
}

static bool skip_port(struct reader *r) {
	unsigned port;
	return !skip(r, ':') || (read_number(r, 10, 5, &port) && port <= 65535);
}

static bool read_address(struct reader *r, struct address *a) {
	a->is_ipv4 = is_ipv4_next(r);
	if (a->is_ipv4)
		return read_ipv4(r, a->bytes) && skip_port(r);
	if (skip(r, '['))
		return read_ipv6(r, a->bytes) && skip_zone(r) && skip(r, ']') && skip_port(r);
	return read_ipv6(r, a->bytes) && skip_zone(r);
}

/* ---- Cutting and writing ------------------------------------------------------ */

/* ::ffff:192.0.2.1 is how a socket for both shows a client that speaks IPv4. */
static void unwrap(struct address *a) {
	static const uint8_t mapped[IPV6_BYTES - IPV4_BYTES] = {[10] = 0xff, 0xff};
	if (a->is_ipv4 || memcmp(a->bytes, mapped, sizeof(mapped)) != 0)
		return;
	memmove(a->bytes, a->bytes + sizeof(mapped), IPV4_BYTES);
	a->is_ipv4 = true;
}

static void cut(uint8_t *bytes, int count, int prefix) {
	for (int i = 0; i < count; i++) {
		int kept = prefix - 8 * i;
		if (kept < 8)
			bytes[i] &= (uint8_t)(kept <= 0 ? 0 : 0xff << (8 - kept));
	}
}

static unsigned group_of(const uint8_t *bytes, int i) {
	return (unsigned)bytes[2 * i] << 8 | bytes[2 * i + 1];
}

/* Finds the longest run of groups that are 0, the first of equally long ones. A run of one is none. */
static int find_zeros(const uint8_t *bytes, int *length) {
	int start = -1;
	*length = 1;
	for (int i = 0; i < GROUPS; i++) {
		int n = 0;
		while (i + n < GROUPS && group_of(bytes, i + n) == 0)
			n++;
		if (n > *length) {
			start = i;
			*length = n;
		}
	}
	return start;
}

static char *write_ipv4(char *at, const uint8_t *bytes) {
	for (int i = 0; i < IPV4_BYTES; i++) {
		if (i > 0)
			*at++ = '.';
		at = text_put_number(at, bytes[i]);
	}
	return at;
}

static char *write_ipv6(char *at, const uint8_t *bytes) {
	int length, zeros = find_zeros(bytes, &length);
	for (int i = 0; i < GROUPS; i++) {
		if (i == zeros) {
			at = text_put(at, "::");
			i += length - 1;
			continue;
		}
		if (i > 0 && at[-1] != ':')
			*at++ = ':';
		at = text_put_hex(at, group_of(bytes, i));
	}
	return at;
}

static void write_id(char *id, struct address *a, int ipv4_prefix, int ipv6_prefix) {
	unwrap(a);
	int bytes = a->is_ipv4 ? IPV4_BYTES : IPV6_BYTES, prefix = a->is_ipv4 ? ipv4_prefix : ipv6_prefix;
	if (prefix == 0)
		prefix = a->is_ipv4 ? 8 * IPV4_BYTES : IPV6_DEFAULT;
	cut(a->bytes, bytes, prefix);
	char *end = a->is_ipv4 ? write_ipv4(id, a->bytes) : write_ipv6(id, a->bytes);
	if (prefix < 8 * bytes)
		end = text_put_number(text_put(end, "/"), (uint64_t)prefix);
	*end = '\0';
}

/* ---- The two functions ----------------------------------------------------------- */

static int check_prefix(const char *name, int prefix, int max) {
	if (prefix >= 0 && prefix <= max)
		return 0;
	return error_set(STINT_ERANGE, "%s is %d, must be 1 to %d, or 0 for the default", name, prefix, max);
}

static int check_arguments(size_t size, int ipv4_prefix, int ipv6_prefix) {
	if (size < STINT_IP_CLIENT_SIZE)
		return error_set(STINT_ERANGE, "size is %zu, must be at least %d", size, STINT_IP_CLIENT_SIZE);
	int error = check_prefix("ipv4_prefix", ipv4_prefix, 8 * IPV4_BYTES);
	return error ? error : check_prefix("ipv6_prefix", ipv6_prefix, 8 * IPV6_BYTES);
}

/* Tells the address, cut, and with a '?' for whatever isn't printable ASCII. */
static int refuse(const char *address, size_t length) {
	char told[TOLD_MAX + 1];
	size_t count = length < TOLD_MAX ? length : TOLD_MAX;
	for (size_t i = 0; i < count; i++)
		told[i] = address[i] >= ' ' && address[i] < 0x7f && address[i] != '"' ? address[i] : '?';
	told[count] = '\0';
	return error_set(STINT_EADDRESS, "address is \"%s\"%s, must be IPv4 or IPv6", told,
	                 length > TOLD_MAX ? "..." : "");
}

static int read_text(struct address *a, const char *address, size_t length) {
	if (!address)
		return error_set(STINT_EADDRESS, "address is NULL, must be IPv4 or IPv6");
	if (length == STINT_STRING)
		length = strlen(address);
	struct reader r = {address, address + length};
	return read_address(&r, a) && r.at == r.end ? 0 : refuse(address, length);
}

static bool take_sockaddr(struct address *a, const struct sockaddr *from, size_t size) {
	*a = (struct address){.is_ipv4 = from->sa_family == AF_INET};
	if (a->is_ipv4 && size >= sizeof(struct sockaddr_in))
		memcpy(a->bytes, (const char *)from + offsetof(struct sockaddr_in, sin_addr), IPV4_BYTES);
	else if (from->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6))
		memcpy(a->bytes, (const char *)from + offsetof(struct sockaddr_in6, sin6_addr), IPV6_BYTES);
	else
		return false;
	return true;
}

static int read_sockaddr(struct address *a, const struct sockaddr *address, size_t size) {
	if (!address || size < offsetof(struct sockaddr, sa_family) + sizeof(address->sa_family))
		return error_set(STINT_EADDRESS, "address is NULL, or too short to tell its family");
	if (take_sockaddr(a, address, size))
		return 0;
	return error_set(STINT_EADDRESS,
	                 "address is of family %d and %zu bytes, must be a struct sockaddr_in or sockaddr_in6",
	                 address->sa_family, size);
}

/* Only now anything is written: the address may be in the same place. */
static int finish(char *id, size_t size, int error, struct address *a, int ipv4_prefix, int ipv6_prefix) {
	if (!error)
		write_id(id, a, ipv4_prefix, ipv6_prefix);
	else if (size > 0)
		id[0] = '\0';
	return error;
}

int stint_ip_client(char *id, size_t size, const char *address, size_t length, int ipv4_prefix, int ipv6_prefix) {
	struct address a;
	int error = check_arguments(size, ipv4_prefix, ipv6_prefix);
	if (!error)
		error = read_text(&a, address, length);
	return finish(id, size, error, &a, ipv4_prefix, ipv6_prefix);
}

int stint_ip_client_sockaddr(char *id, size_t size, const struct sockaddr *address, size_t address_size,
                             int ipv4_prefix, int ipv6_prefix) {
	struct address a;
	int error = check_arguments(size, ipv4_prefix, ipv6_prefix);
	if (!error)
		error = read_sockaddr(&a, address, address_size);
	return finish(id, size, error, &a, ipv4_prefix, ipv6_prefix);
}
