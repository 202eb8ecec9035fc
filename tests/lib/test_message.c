/*
 * test_message.c - what an agent's WELCOME must look like, and what the app is told when it doesn't; and the
 * sentence of each error.
 */
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "protocol/layout.h"
#include "message.h"
#include "stint.h"
#include "unit.h"

/* A WELCOME as it should be, for a test to spoil. */
static struct packet welcome_with(struct wire_welcome welcome, const char *words, int fd_count) {
	struct packet packet = {.length = sizeof(welcome) + strlen(words), .fd_count = fd_count};

	welcome.head.type = WIRE_WELCOME;
	memcpy(packet.bytes, &welcome, sizeof(welcome));
	memcpy(packet.bytes + sizeof(welcome), words, strlen(words));
	return packet;
}

static int read_welcome(const struct packet *packet) {
	struct wire_welcome welcome;
	return message_read_welcome(packet, &welcome);
}

#define GOOD .wire_version = WIRE_VERSION, .layout_version = LAYOUT_VERSION, .generation = 7

static void a_good_welcome_is_read(void **state) {
	struct packet packet = welcome_with((struct wire_welcome){GOOD}, "", 2);
	struct wire_welcome welcome;

	(void)state;
	assert_int_equal(message_read_welcome(&packet, &welcome), 0);
	assert_int_equal(welcome.generation, 7);
}

static void a_welcome_of_any_length_is_refused_but_the_right_one(void **state) {
	struct packet packet = welcome_with((struct wire_welcome){GOOD}, "", 2);
	size_t right = packet.length;

	(void)state;
	for (packet.length = sizeof(struct wire_head); packet.length < right + 9; packet.length++)
		assert_int_equal(read_welcome(&packet), packet.length == right ? 0 : STINT_EPROTOCOL);
}

static void descriptors_are_two(void **state) {
	(void)state;
	for (int count = 0; count < 4; count++) {
		struct packet packet = welcome_with((struct wire_welcome){GOOD}, "", count);
		assert_int_equal(read_welcome(&packet), count == 2 ? 0 : STINT_EPROTOCOL);
	}
}

/* Only the beginning of its WELCOME must be as this version knows it. */
static void another_version_may_look_different(void **state) {
	struct packet packet =
		welcome_with((struct wire_welcome){.wire_version = WIRE_VERSION + 1, .status = 77}, "and more", 0);

	(void)state;
	assert_int_equal(read_welcome(&packet), STINT_EVERSION);
	packet.length = offsetof(struct wire_welcome, layout_version);
	assert_int_equal(read_welcome(&packet), STINT_EVERSION);
	packet.length--;
	assert_int_equal(read_welcome(&packet), STINT_EPROTOCOL);
	packet =
		welcome_with((struct wire_welcome){.wire_version = WIRE_VERSION, .layout_version = LAYOUT_VERSION + 1}, "",
	                 2);
	assert_int_equal(read_welcome(&packet), STINT_EVERSION);
	assert_non_null(strstr(stint_error_detail(), "layout"));
}

static void a_refusal_says_why(void **state) {
	char words[WIRE_MESSAGE_MAX - sizeof(struct wire_welcome)];
	struct packet packet =
		welcome_with((struct wire_welcome){.status = STINT_ETIMENS, GOOD}, "because\nof\x7f that", 0);

	(void)state;
	assert_int_equal(read_welcome(&packet), STINT_ETIMENS);
	assert_string_equal(stint_error_detail(), "because of  that");
	packet = welcome_with((struct wire_welcome){.status = STINT_ETIMENS, GOOD}, "", 0);
	assert_int_equal(read_welcome(&packet), STINT_ETIMENS);
	assert_string_equal(stint_error_detail(), stint_strerror(STINT_ETIMENS));
	memset(words, 'w', sizeof(words) - 1);
	words[sizeof(words) - 1] = '\0';
	packet = welcome_with((struct wire_welcome){.status = STINT_ETIMENS, GOOD}, words, 0);
	assert_int_equal(read_welcome(&packet), STINT_ETIMENS);
	assert_int_equal(strlen(stint_error_detail()), 159);
	packet = welcome_with((struct wire_welcome){.status = 1, GOOD}, "", 2); /* neither 0 nor an error */
	assert_int_equal(read_welcome(&packet), STINT_EPROTOCOL);
}

static void less_than_a_head_is_no_message(void **state) {
	struct packet packet = {.length = sizeof(struct wire_head) - 1};
	struct wire_head head;

	(void)state;
	assert_int_equal(message_read_head(&packet, &head), STINT_EPROTOCOL);
	packet.length++;
	assert_int_equal(message_read_head(&packet, &head), 0);
}

static void every_error_has_a_sentence(void **state) {
	int known = 0;

	(void)state;
	for (int status = -100; status < 100; status++) {
		const char *sentence = stint_strerror(status);

		assert_true(sentence && sentence[0]);
		known += error_is_known(status);
	}
	assert_true(known > 10);
	assert_false(error_is_known(-100));
	assert_false(error_is_known(1));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_welcome_is_read),
		cmocka_unit_test(a_welcome_of_any_length_is_refused_but_the_right_one),
		cmocka_unit_test(descriptors_are_two),
		cmocka_unit_test(another_version_may_look_different),
		cmocka_unit_test(a_refusal_says_why),
		cmocka_unit_test(less_than_a_head_is_no_message),
		cmocka_unit_test(every_error_has_a_sentence),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
