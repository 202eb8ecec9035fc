/* pg_frames.c - see pg_frames.h. */
#include "pg_frames.h"

#include <stdio.h>
#include <string.h>

#define PARSE 'P'
#define BIND  'B'
#define QUERY 'Q'
#define SYNC  'S'

/* The start packet has no type. */
static size_t head_size(const struct pg_frames *frames, enum pg_side side) {
	return side == PG_CLIENT && !frames->started ? 4 : 5;
}

static uint32_t number_at(const uint8_t *bytes) {
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void read_head(struct pg_frames *frames, struct pg_message *message, size_t size) {
	uint32_t length = number_at(message->head + size - 4);

	message->type = size == 5 ? (char)message->head[0] : '\0';
	message->text_length = 0;
	frames->lost |= length < 4;
	message->left = length < 4 ? 0 : length - 4; /* the length counts itself */
}

static void keep_text(struct pg_message *message, const char *data, size_t length) {
	size_t room = sizeof(message->text) - 1 - message->text_length;

	if (length > room)
		length = room;
	memcpy(message->text + message->text_length, data, length);
	message->text_length += length;
	message->text[message->text_length] = '\0';
}

static void append(struct pg_frames *frames, const char *name) {
	struct pg_command *command = &frames->pending[(frames->first + frames->count) % PG_FRAMES_PENDING];

	if (frames->count == PG_FRAMES_PENDING) {
		frames->lost = true;
		return;
	}
	memset(command, 0, sizeof(*command));
	snprintf(command->name, sizeof(command->name), "%s", name);
	frames->count++;
}

static void set_name(struct pg_frames *frames, const char *name) {
	snprintf(frames->name, sizeof(frames->name), "%.*s", (int)sizeof(frames->name) - 1, name);
}

/* Bind: the portal's name, then the statement's. Parse: the statement's name, then what it is to do. */
static void name_next(struct pg_frames *frames, const struct pg_message *message) {
	const char *first = message->text, *second = first + strnlen(first, sizeof(message->text) - 2) + 1;

	if (message->type == QUERY)
		set_name(frames, first);
	else if (message->type == PARSE)
		set_name(frames, first[0] != '\0' ? PG_FRAMES_PREPARE : second);
	else if (second[0] != '\0') /* else what was just parsed */
		set_name(frames, second);
}

static void client_said(struct pg_frames *frames, const struct pg_message *message) {
	if (message->type == '\0') {
		frames->started = true;
		append(frames, PG_FRAMES_STARTUP);
	} else if (message->type == BIND || message->type == PARSE || message->type == QUERY) {
		name_next(frames, message);
	}
	if (message->type == SYNC || message->type == QUERY)
		append(frames, frames->name);
}

struct pg_piece pg_frames_next(struct pg_frames *frames, enum pg_side side, const char *data, size_t length) {
	struct pg_message *message = &frames->message[side];
	size_t size = head_size(frames, side), at = 0, body;

	while (message->head_had < size && at < length) {
		message->head[message->head_had++] = (uint8_t)data[at++];
		if (message->head_had == size)
			read_head(frames, message, size);
	}
	if (message->head_had < size)
		return (struct pg_piece){.length = at};
	body = message->left < length - at ? message->left : length - at;
	if (side == PG_CLIENT)
		keep_text(message, data + at, body);
	message->left -= (uint32_t)body;
	if (message->left > 0)
		return (struct pg_piece){.length = at + body, .type = message->type};
	message->head_had = 0;
	if (side == PG_CLIENT)
		client_said(frames, message);
	return (struct pg_piece){.length = at + body, .type = message->type, .ends = true};
}

struct pg_command *pg_frames_oldest(struct pg_frames *frames) {
	return frames->count > 0 ? &frames->pending[frames->first] : NULL;
}

struct pg_command *pg_frames_newest(struct pg_frames *frames) {
	return frames->count > 0 ? &frames->pending[(frames->first + frames->count - 1) % PG_FRAMES_PENDING] : NULL;
}

void pg_frames_answered(struct pg_frames *frames) {
	if (frames->count == 0)
		return;
	frames->first = (frames->first + 1) % PG_FRAMES_PENDING;
	frames->count--;
}
