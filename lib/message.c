/*
 * message.c - checks the length and the contents of each message.
 */
#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "error.h"
#include "protocol/layout.h"
#include "message.h"
#include "stint.h"

int message_refuse(const char *what) {
	return error_set(STINT_EPROTOCOL, "the agent sent what this library does not understand: %s", what);
}

/* A status is 0 or one of the errors that both sides know. STINT_ECANCELED is not among them: only the library
 * says it, and apps act on it. */
static bool is_status(int status) {
	return status == 0 || (error_is_known(status) && status != STINT_ECANCELED);
}

int message_read_head(const struct packet *packet, struct wire_head *head) {
	if (packet->length < sizeof(*head))
		return message_refuse("less than a head");
	memcpy(head, packet->bytes, sizeof(*head));
	return 0;
}

/* Returns the status. The detail is the agent's own words, without control characters, so that they are fit for a
 * log. */
static int refused_by_agent(int status, const struct packet *packet) {
	char words[160] = "";
	size_t length = packet->length - sizeof(struct wire_welcome);
	if (length > sizeof(words) - 1)
		length = sizeof(words) - 1;
	for (size_t i = 0; i < length; i++) {
		unsigned char c = packet->bytes[sizeof(struct wire_welcome) + i];
		words[i] = iscntrl(c) ? ' ' : (char)c;
	}
	return error_set(status, "%s", words[0] ? words : stint_strerror(status));
}

/* Checks the fields from the front, since a WELCOME of another version may go on differently. */
int message_read_welcome(const struct packet *packet, struct wire_welcome *welcome) {
	size_t length = packet->length < sizeof(*welcome) ? packet->length : sizeof(*welcome);
	if (length < offsetof(struct wire_welcome, layout_version))
		return message_refuse("WELCOME is too short");
	memset(welcome, 0, sizeof(*welcome));
	memcpy(welcome, packet->bytes, length);
	if (welcome->wire_version != WIRE_VERSION)
		return error_set(STINT_EVERSION, "the agent speaks version %u, this library %u", welcome->wire_version,
		                 WIRE_VERSION);
	if (length < sizeof(*welcome) || !is_status(welcome->status))
		return message_refuse("the length or the status of WELCOME");
	if (welcome->status != 0)
		return refused_by_agent(welcome->status, packet);
	if (welcome->layout_version != LAYOUT_VERSION)
		return error_set(STINT_EVERSION, "the agent's table has layout %u, this library knows %u",
		                 welcome->layout_version, LAYOUT_VERSION);
	if (packet->length != sizeof(*welcome) || packet->fd_count != 2)
		return message_refuse("WELCOME must bring two descriptors and no words");
	return 0;
}

int message_read_declared(const struct packet *packet, struct wire_declared *declared) {
	if (packet->length != sizeof(*declared))
		return message_refuse("the length of DECLARED");
	memcpy(declared, packet->bytes, sizeof(*declared));
	return is_status(declared->status) ? 0 : message_refuse("the status of DECLARED");
}

static bool is_sane(const struct wire_verdict *v) {
	if (v->status != 0)
		return is_status(v->status);
	return v->allowed <= 1 && v->source >= STINT_SOURCE_LEASE && v->source <= STINT_SOURCE_ADVANCE &&
	       (v->reason == STINT_ADMITTED) == (v->allowed == 1) && v->reason >= STINT_ADMITTED &&
	       v->reason <= STINT_UNAVAILABLE && v->limit >= 0 && v->remaining >= 0 && v->retry_after_ms >= 0 &&
	       v->reset_after_ms >= 0;
}

int message_read_verdict(const struct packet *packet, struct wire_verdict *verdict) {
	if (packet->length != sizeof(*verdict))
		return message_refuse("the length of VERDICT");
	memcpy(verdict, packet->bytes, sizeof(*verdict));
	return is_sane(verdict) ? 0 : message_refuse("what VERDICT says");
}
