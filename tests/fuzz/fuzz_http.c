/*
 * fuzz_http.c - what a web server hands on: an address of any bytes, and a verdict of any numbers. An id is short
 * and printable, and is the id of the address that it names; a header field is printable.
 *
 * The input is the prefixes, the verdict and the options, then the address.
 */
#include "fuzz.h"
#include "stint.h"

static int read_prefix(struct fuzz *in) {
	return (int)fuzz_below(in, 140) - 4;
}

static void check_printable(const char *text, size_t max) {
	fuzz_must(strlen(text) <= max, "\"%s\" is too long", text);
	for (; *text; text++)
		fuzz_must(*text >= ' ' && *text < 0x7f, "byte %d", *text);
}

/* The id without its prefix is an address, which has the same id. */
static void check_id(const char *id, int ipv4_prefix, int ipv6_prefix) {
	char address[STINT_IP_CLIENT_SIZE], again[STINT_IP_CLIENT_SIZE];
	fuzz_must(id[0] != '\0', "no id");
	check_printable(id, STINT_IP_CLIENT_SIZE - 1);
	snprintf(address, sizeof(address), "%.*s", (int)strcspn(id, "/"), id);
	fuzz_must(stint_ip_client(again, sizeof(again), address, STINT_STRING, ipv4_prefix, ipv6_prefix) == 0 &&
	              strcmp(id, again) == 0,
	          "%s, then %s", id, again);
}

static void try_address(struct fuzz *in, int ipv4_prefix, int ipv6_prefix) {
	char id[STINT_IP_CLIENT_SIZE];
	size_t length = in->left;
	char *address = malloc(length + (length == 0));
	fuzz_must(address != NULL, "no memory");
	fuzz_read(in, address, length);
	memset(id, 'x', sizeof(id));
	int error = stint_ip_client(id, sizeof(id), address, length, ipv4_prefix, ipv6_prefix);
	free(address);
	if (error == 0) {
		check_id(id, ipv4_prefix, ipv6_prefix);
		return;
	}
	fuzz_must((error == STINT_EADDRESS || error == STINT_ERANGE) && id[0] == '\0', "%d, id %.47s", error, id);
	check_printable(stint_error_detail(), 255);
}

static void check_field(const char *name, const char *value, void *arg) {
	int *count = arg;
	++*count;
	check_printable(name, 32);
	check_printable(value, STINT_POLICY_NAME_MAX + 64);
	fuzz_must(value[0] != '\0' && !strchr(value, '-'), "%s: %s", name, value);
}

static void try_headers(struct fuzz *in) {
	struct stint_result r = {
		.allowed = fuzz_u8(in) % 2,
		.source = (enum stint_source)fuzz_below(in, 8),
		.limit = (int64_t)fuzz_odd_number(in),
		.remaining = (int64_t)fuzz_odd_number(in),
		.retry_after_ms = (int64_t)fuzz_odd_number(in),
		.reset_after_ms = (int64_t)fuzz_odd_number(in),
	};
	struct stint_http_options o = {
		.policy = "api",
		.time_window_ms = (int64_t)fuzz_odd_number(in),
		.fallback_time_window_ms = (int64_t)fuzz_odd_number(in),
		.version = (enum stint_http_version)fuzz_below(in, 3),
		.x_ratelimit = fuzz_u8(in) % 2,
	};
	int count = 0, error = stint_http_headers(&o, &r, check_field, &count);
	bool knows_limit = r.source != STINT_SOURCE_LOCAL || r.limit > 0;
	int limit_fields = knows_limit ? 2 * (o.version == STINT_HTTP_DRAFT_11) + 3 * o.x_ratelimit : 0;
	int expected = limit_fields + !r.allowed;
	fuzz_must(error == 0 || error == STINT_ERANGE, "%d", error);
	fuzz_must(count == (error ? 0 : expected), "%d fields", count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct fuzz in = {data, size};
	int ipv4_prefix = read_prefix(&in), ipv6_prefix = read_prefix(&in);
	try_headers(&in);
	try_address(&in, ipv4_prefix, ipv6_prefix);
	return 0;
}
