/* metrics_address.c - reads the key metrics_listen; see metrics_address.h. */
#include "metrics_address.h"

#include <arpa/inet.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

static bool parse_path(struct metrics_address *out, const char *path) {
	struct sockaddr_un *un = (struct sockaddr_un *)&out->address;
	if (strlen(path) >= sizeof(un->sun_path))
		return false;
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, path);
	out->length = sizeof(*un);
	return true;
}

static bool is_loopback(const struct sockaddr_storage *address) {
	const struct sockaddr_in *in = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
	if (address->ss_family == AF_INET)
		return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET && in->sin_port != 0;
	return address->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) && in6->sin6_port != 0;
}

bool metrics_address_parse(struct metrics_address *out, const char *text) {
	int length = sizeof(out->address);
	*out = (struct metrics_address){.length = 0};
	if (text[0] == '/')
		return parse_path(out, text);
	if (evutil_parse_sockaddr_port(text, (struct sockaddr *)&out->address, &length) != 0)
		return false;
	out->length = (socklen_t)length;
	return is_loopback(&out->address);
}
