/*
 * test_ip_client.c - ids of addresses: one id for all spellings of an address, and nothing else is taken for one.
 *
 * The C library's inet_pton() is the second opinion of what an address is.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "random.h"
#include "stint.h"
#include "unit.h"

static char id[STINT_IP_CLIENT_SIZE];

/* The bytes are copied to a place of just their size, so that a sanitizer sees who reads further. */
static int make_of(const char *address, size_t length, int ipv4_prefix, int ipv6_prefix) {
	char *copy = malloc(length + (length == 0));
	int error;

	assert_non_null(copy);
	memcpy(copy, address, length);
	memset(id, 'x', sizeof(id));
	error = stint_ip_client(id, sizeof(id), copy, length, ipv4_prefix, ipv6_prefix);
	free(copy);
	assert_non_null(memchr(id, '\0', sizeof(id)));
	return error;
}

static const char *id_of(const char *address) {
	assert_int_equal(make_of(address, strlen(address), 0, 0), 0);
	return id;
}

static const char *cut_id_of(const char *address, int ipv4_prefix, int ipv6_prefix) {
	assert_int_equal(make_of(address, strlen(address), ipv4_prefix, ipv6_prefix), 0);
	return id;
}

static void each_form_has_its_id(void **state) {
	(void)state;
	assert_string_equal(id_of("192.0.2.1"), "192.0.2.1");
	assert_string_equal(id_of("0.0.0.0"), "0.0.0.0");
	assert_string_equal(id_of("255.255.255.255"), "255.255.255.255");
	assert_string_equal(id_of("192.0.2.1:443"), "192.0.2.1");
	assert_string_equal(id_of("2001:db8::1"), "2001:db8::/64");
	assert_string_equal(id_of("[2001:db8::1]"), "2001:db8::/64");
	assert_string_equal(id_of("[2001:db8::1]:65535"), "2001:db8::/64");
	assert_string_equal(id_of("fe80::1%eth0"), "fe80::/64");
	assert_string_equal(id_of("fe80::1%25eth0.7"), "fe80::/64");
	assert_string_equal(id_of("[fe80::1%2]:80"), "fe80::/64");
	assert_string_equal(id_of("::"), "::/64");
	assert_string_equal(id_of("::1"), "::/64");
}

static void spellings_of_an_address_have_one_id(void **state) {
	static const char *const v6[] = {"2001:db8::1:0:0:1",    "2001:0db8:0:0:1:0:0:1",
	                                 "2001:DB8::1:0:0:1",    "2001:db8:0000:0000:0001:0000:0000:0001",
	                                 "2001:db8:0:0:1::1",    "2001:db8:0:0:1::0.0.0.1",
	                                 "2001:db8::1:0:0.0.0.1"};
	static const char *const v4[] = {"192.0.2.1",
	                                 "::ffff:192.0.2.1",
	                                 "::FFFF:192.0.2.1",
	                                 "::ffff:c000:201",
	                                 "::ffff:C000:0201",
	                                 "0:0:0:0:0:ffff:c000:201",
	                                 "0000:0000:0000:0000:0000:FFFF:192.0.2.1",
	                                 "0::ffff:192.0.2.1",
	                                 "[::ffff:192.0.2.1]",
	                                 "[::ffff:192.0.2.1]:80",
	                                 "::ffff:192.0.2.1%eth0",
	                                 "192.0.2.1:0"};

	(void)state;
	for (unsigned i = 0; i < sizeof(v6) / sizeof(v6[0]); i++)
		assert_string_equal(cut_id_of(v6[i], 0, 128), "2001:db8::1:0:0:1");
	for (unsigned i = 0; i < sizeof(v4) / sizeof(v4[0]); i++) {
		assert_string_equal(cut_id_of(v4[i], 0, 0), "192.0.2.1");
		assert_string_equal(cut_id_of(v4[i], 24, 1), "192.0.2.0/24");
	}
	/* These only look like it. */
	assert_string_equal(cut_id_of("::192.0.2.1", 0, 128), "::c000:201");
	assert_string_equal(cut_id_of("::ffff:0:192.0.2.1", 0, 128), "::ffff:0:c000:201");
	assert_string_equal(cut_id_of("1::ffff:192.0.2.1", 0, 128), "1::ffff:c000:201");
	assert_string_equal(cut_id_of("::fffe:192.0.2.1", 0, 128), "::fffe:c000:201");
}

static void prefixes_cut(void **state) {
	(void)state;
	assert_string_equal(cut_id_of("255.255.255.255", 1, 0), "128.0.0.0/1");
	assert_string_equal(cut_id_of("255.255.255.255", 31, 0), "255.255.255.254/31");
	assert_string_equal(cut_id_of("255.255.255.255", 32, 0), "255.255.255.255");
	assert_string_equal(cut_id_of("10.11.12.13", 12, 0), "10.0.0.0/12");
	assert_string_equal(cut_id_of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0, 1), "8000::/1");
	assert_string_equal(cut_id_of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0, 127),
	                    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127");
	assert_string_equal(cut_id_of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0, 65),
	                    "ffff:ffff:ffff:ffff:8000::/65");
	assert_string_equal(cut_id_of("2001:db8:ab:cd:1::", 0, 56), "2001:db8:ab::/56");
	/* Of the longest runs of zeros the first is left out, and never a single group. */
	assert_string_equal(cut_id_of("2001:0:0:1:0:0:0:1", 0, 128), "2001:0:0:1::1");
	assert_string_equal(cut_id_of("2001:db8:0:1:1:1:1:1", 0, 128), "2001:db8:0:1:1:1:1:1");
	assert_string_equal(cut_id_of("1:0:0:2:0:0:3:4", 0, 128), "1::2:0:0:3:4");
	assert_string_equal(cut_id_of("0:0:1::", 0, 128), "0:0:1::");
	assert_string_equal(cut_id_of("::1:2:3:4:5:6", 0, 128), "::1:2:3:4:5:6");
}

static void what_is_out_of_range_is_told(void **state) {
	char small[STINT_IP_CLIENT_SIZE - 1] = "x";

	(void)state;
	assert_int_equal(make_of("::1", 3, 0, 129), STINT_ERANGE);
	assert_string_equal(stint_error_detail(), "ipv6_prefix is 129, must be 1 to 128, or 0 for the default");
	assert_string_equal(id, "");
	assert_int_equal(make_of("::1", 3, 0, -1), STINT_ERANGE);
	assert_int_equal(make_of("::1", 3, 33, 0), STINT_ERANGE);
	assert_int_equal(make_of("::1", 3, -1, 0), STINT_ERANGE);
	assert_string_equal(stint_error_detail(), "ipv4_prefix is -1, must be 1 to 32, or 0 for the default");
	assert_int_equal(stint_ip_client(small, sizeof(small), "::1", 3, 0, 0), STINT_ERANGE);
	assert_string_equal(stint_error_detail(), "size is 47, must be at least 48");
	assert_string_equal(small, "");
	assert_int_equal(stint_ip_client(NULL, 0, "::1", 3, 0, 0), STINT_ERANGE);
}

static void what_is_no_address_is_refused(void **state) {
	static const char *const bad[] = {
		"",
		":",
		":::",
		"1",
		"1.2.3",
		"1.2.3.",
		"1.2.3.4.",
		"1.2.3.4.5",
		".1.2.3.4",
		"256.1.1.1",
		"1.1.1.256",
		"01.2.3.4",
		"1.2.3.04",
		"1.2.3.00",
		"0x1.2.3.4",
		"1.2.3.4:",
		"1.2.3.4:65536",
		"1.2.3.4:80a",
		"1.2.3.4:-1",
		"1.2.3.4:123456",
		"1.2.3.4/32",
		"1.2.3.4%eth0",
		" 1.2.3.4",
		"1.2.3.4 ",
		"1.2.3.4, 5.6.7.8",
		"[1.2.3.4]",
		"1:2:3:4:5:6:7",
		"1:2:3:4:5:6:7:8:9",
		"1:2:3:4:5:6:7:8::",
		"::1:2:3:4:5:6:7:8",
		"1::2::3",
		"1:::2",
		":1::",
		"1:",
		"::1:",
		"12345::",
		"::g",
		"1:2:3:4:5:6:7:1.2.3.4",
		"::1.2.3",
		"::1.2.3.4.5",
		"::1.2.3.4:80",
		"::1.2.3.4:5",
		"1.2.3.4::",
		"[::1",
		"::1]",
		"[::1]80",
		"[::1]:",
		"[::1]:65536",
		"[]",
		"[",
		"fe80::1%",
		"fe80::1%a/64",
		"::1/64",
		"fe80::1%a b",
		"unix:",
		"localhost",
		"-",
		"::ffff:1.2.3.256",
		"fe80::1%01234567890123456789012345678901234567890123456789012345678901234",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (make_of(bad[i], strlen(bad[i]), 0, 0) != STINT_EADDRESS)
			fail_msg("\"%s\" was taken for %s", bad[i], id);
		assert_string_equal(id, "");
	}
	assert_int_equal(make_of("::1\0", 4, 0, 0), STINT_EADDRESS);
	assert_int_equal(stint_ip_client(id, sizeof(id), NULL, 0, 0, 0), STINT_EADDRESS);
	assert_int_equal(stint_ip_client(id, sizeof(id), "::1", STINT_STRING, 0, 0), 0);
	assert_string_equal(id, "::/64");
}

/* It may end in a log: no byte of it does harm there. */
static void what_was_refused_is_told_without_harm(void **state) {
	char longest[1000];

	(void)state;
	assert_int_equal(make_of("unix:", 5, 0, 0), STINT_EADDRESS);
	assert_string_equal(stint_error_detail(), "address is \"unix:\", must be IPv4 or IPv6");
	assert_int_equal(make_of("\n\x1b[2J\"\0\xff", 8, 0, 0), STINT_EADDRESS);
	assert_string_equal(stint_error_detail(), "address is \"??[2J???\", must be IPv4 or IPv6");
	memset(longest, 'a', sizeof(longest));
	assert_int_equal(make_of(longest, sizeof(longest), 0, 0), STINT_EADDRESS);
	assert_non_null(strstr(stint_error_detail(), "aaa\"..., must be IPv4 or IPv6"));
	assert_string_equal(stint_strerror(STINT_EADDRESS), "this is no address of IPv4 or IPv6");
}

/* Tells what inet_pton() thinks of a text without port, bracket and zone. */
static bool is_address(const char *text, char canonical[static INET6_ADDRSTRLEN]) {
	unsigned char bytes[16];
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;

	return inet_pton(family, text, bytes) == 1 && inet_ntop(family, bytes, canonical, INET6_ADDRSTRLEN) != NULL;
}

/* An id at full length is an address that inet_pton() takes for the same; and its id is itself. */
static void assert_agreed(const char *text) {
	char theirs[INET6_ADDRSTRLEN], again[STINT_IP_CLIENT_SIZE], plain[INET6_ADDRSTRLEN];
	int error = make_of(text, strlen(text), 32, 128);

	if ((error == 0) != is_address(text, theirs))
		fail_msg("\"%s\": we say %d", text, error);
	if (error)
		return;
	strcpy(again, id);
	assert_true(is_address(again, plain));
	assert_string_equal(id_of(theirs), id_of(again));
	assert_string_equal(cut_id_of(again, 32, 128), again);
}

/* All truncations, and all texts that differ in a byte. */
static void close_to_an_address_there_is_nothing_else(void **state) {
	static const char *const good[] =
		{"192.0.2.13", "2001:db8:1:2:3:4:5:6", "2001:db8::1", "::ffff:192.0.2.1", "::", "1::", "1:2:3:4:5:6:7::"};
	static const char bytes[] = "0129afFg:.x/ ";
	char text[64];

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		size_t length = strlen(good[i]);
		for (size_t cut = 0; cut <= length; cut++) {
			snprintf(text, sizeof(text), "%.*s", (int)cut, good[i]);
			assert_agreed(text);
		}
		for (size_t at = 0; at < length; at++) {
			for (const char *byte = bytes; *byte; byte++) {
				strcpy(text, good[i]);
				text[at] = *byte;
				/* A port behind IPv4 is ours alone. */
				if (i > 0 || *byte != ':')
					assert_agreed(text);
				snprintf(text, sizeof(text), "%.*s%c%s", (int)at, good[i], *byte, good[i] + at);
				if (i > 0 || *byte != ':')
					assert_agreed(text);
			}
		}
	}
}

static void garbage_is_agreed_on(void **state) {
	static const char bytes[] = "01:::..fF2";
	uint64_t random = 99;
	char text[24];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		uint32_t length = random_below(&random, sizeof(text) - 1);
		for (uint32_t j = 0; j < length; j++)
			text[j] = bytes[random_below(&random, sizeof(bytes) - 1)];
		text[length] = '\0';
		const char *colon = strchr(text, ':');
		if (!colon || strchr(colon + 1, ':')) /* else it may be IPv4 with a port */
			assert_agreed(text);
	}
}

static void random_addresses_are_agreed_on(void **state) {
	uint64_t random = 7;

	(void)state;
	for (int i = 0; i < 5000; i++) {
		struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
		char text[INET6_ADDRSTRLEN], of_bytes[STINT_IP_CLIENT_SIZE];
		int prefix = 1 + (int)random_below(&random, 128);
		/* Many groups that are 0. */
		for (int j = 0; j < 16; j++)
			if (random_below(&random, 3) == 0)
				in6.sin6_addr.s6_addr[j] = (uint8_t)random_below(&random, 256);
		assert_non_null(inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof(text)));
		assert_agreed(text);
		assert_int_equal(stint_ip_client_sockaddr(of_bytes, sizeof(of_bytes), (struct sockaddr *)&in6, sizeof(in6),
		                                          0, prefix),
		                 0);
		assert_string_equal(cut_id_of(text, 0, prefix), of_bytes);
	}
}

static void sockets_addresses_have_the_same_ids(void **state) {
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = 1234};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_scope_id = 3, .sin6_flowinfo = 5};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr *sa;

	(void)state;
	inet_pton(AF_INET, "192.0.2.9", &in.sin_addr);
	sa = (struct sockaddr *)&in;
	assert_int_equal(stint_ip_client_sockaddr(id, sizeof(id), sa, sizeof(in), 0, 0), 0);
	assert_string_equal(id, "192.0.2.9");
	assert_int_equal(stint_ip_client_sockaddr(id, sizeof(id), sa, sizeof(in), 28, 0), 0);
	assert_string_equal(id, "192.0.2.0/28");
	assert_int_equal(stint_ip_client_sockaddr(id, sizeof(id), sa, sizeof(in), 33, 0), STINT_ERANGE);
	assert_int_equal(stint_ip_client_sockaddr(id, 47, sa, sizeof(in), 0, 0), STINT_ERANGE);
	sa = (struct sockaddr *)&in6;
	inet_pton(AF_INET6, "::ffff:192.0.2.9", &in6.sin6_addr);
	assert_int_equal(stint_ip_client_sockaddr(id, sizeof(id), sa, sizeof(in6), 0, 0), 0);
	assert_string_equal(id, "192.0.2.9");
	inet_pton(AF_INET6, "fe80::1", &in6.sin6_addr);
	assert_int_equal(stint_ip_client_sockaddr(id, sizeof(id), sa, sizeof(in6), 0, 128), 0);
	assert_string_equal(id, "fe80::1");
	for (size_t size = 0; size < sizeof(in6); size++)
		assert_int_equal(stint_ip_client_sockaddr(id, sizeof(id), sa, size, 0, 0), STINT_EADDRESS);
	assert_string_equal(id, "");
	assert_int_equal(stint_ip_client_sockaddr(id, sizeof(id), (struct sockaddr *)&un, sizeof(un), 0, 0),
	                 STINT_EADDRESS);
	assert_non_null(strstr(stint_error_detail(), "address is of family 1 and 110 bytes"));
	assert_int_equal(stint_ip_client_sockaddr(id, sizeof(id), NULL, sizeof(in), 0, 0), STINT_EADDRESS);
}

static void the_id_may_take_the_addresss_place(void **state) {
	char both[STINT_IP_CLIENT_SIZE] = "::ffff:192.0.2.1";
	struct {
		struct sockaddr_in6 address;
		char room[STINT_IP_CLIENT_SIZE];
	} s = {.address = {.sin6_family = AF_INET6, .sin6_addr = {.s6_addr = {0x20, 1, 0xd, 0xb8, [15] = 1}}}};

	(void)state;
	assert_int_equal(stint_ip_client(both, sizeof(both), both, STINT_STRING, 0, 0), 0);
	assert_string_equal(both, "192.0.2.1");
	assert_int_equal(stint_ip_client_sockaddr((char *)&s, sizeof(s), (struct sockaddr *)&s, sizeof(s.address), 0,
	                                          0),
	                 0);
	assert_string_equal((char *)&s, "2001:db8::/64");
	strcpy(both, "nonsense");
	assert_int_equal(stint_ip_client(both, sizeof(both), both, STINT_STRING, 0, 0), STINT_EADDRESS);
	assert_string_equal(both, "");
	assert_string_equal(stint_error_detail(), "address is \"nonsense\", must be IPv4 or IPv6");
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_form_has_its_id),
		cmocka_unit_test(spellings_of_an_address_have_one_id),
		cmocka_unit_test(prefixes_cut),
		cmocka_unit_test(what_is_out_of_range_is_told),
		cmocka_unit_test(what_is_no_address_is_refused),
		cmocka_unit_test(what_was_refused_is_told_without_harm),
		cmocka_unit_test(close_to_an_address_there_is_nothing_else),
		cmocka_unit_test(garbage_is_agreed_on),
		cmocka_unit_test(random_addresses_are_agreed_on),
		cmocka_unit_test(sockets_addresses_have_the_same_ids),
		cmocka_unit_test(the_id_may_take_the_addresss_place),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
