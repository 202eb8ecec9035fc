/*
 * id.h - a client's id, out of JavaScript. Inline: a check takes hardly longer than this.
 */
#ifndef STINT_NODE_ID_H
#define STINT_NODE_ID_H

#include <string.h>

#include "addon.h"
#include "protocol/hot.h"

#define ID_NARROW 16

/* Room to see that an id is too long (V8 writes whole characters, so it may leave three bytes free, and a NUL),
 * and for a piece that begins with an id's last character. */
#define ID_ROOM (STINT_CLIENT_ID_MAX + 1 + 3 + 1 + ID_NARROW)

/* U+FFFD in an id: V8 writes it in place of lone surrogates, which would make different ids one client. */
static inline bool id_has_replacement(const char *id, size_t length) {
	return memmem(id, length, "\xef\xbf\xbd", 3) != NULL;
}

static inline bool id_is_pair(const char16_t *unit, size_t left) {
	return unit[0] < 0xdc00 && left > 1 && unit[1] >= 0xdc00 && unit[1] <= 0xdfff;
}

static inline bool id_has_lone_surrogate(const char16_t *unit, size_t length) {
	for (size_t i = 0; i < length; i++) {
		if (unit[i] < 0xd800 || unit[i] > 0xdfff)
			continue;
		if (!id_is_pair(&unit[i], length - i))
			return true;
		i++;
	}
	return false;
}

/* What one of so many units of UTF-16 has. */
HOT_PART static inline uint64_t id_units_or(const char16_t unit[static ID_NARROW]) {
	uint64_t word[ID_NARROW * sizeof(char16_t) / sizeof(uint64_t)];
	memcpy(word, unit, sizeof(word));
	return word[0] | word[1] | word[2] | word[3];
}

/* Returns whether the id is ASCII: then it is written. Whole pieces of fixed length become single instructions. */
HOT_PART static inline bool id_narrow(char16_t unit[static ID_ROOM], size_t length, char id[static ID_ROOM]) {
	uint64_t all = 0;
	memset(&unit[length], 0, ID_NARROW * sizeof(unit[0]));
	for (size_t i = 0; i < length; i += ID_NARROW) {
		all |= id_units_or(&unit[i]);
		for (size_t k = 0; k < ID_NARROW; k++)
			id[i + k] = (char)unit[i + k];
	}
	return (all & UINT64_C(0xff80ff80ff80ff80)) == 0;
}

APART static int id_take_wide(napi_env env, napi_value value, const char16_t *unit, size_t units,
                              char id[static ID_ROOM], size_t *length) {
	if (napi_get_value_string_utf8(env, value, id, ID_ROOM, length) != napi_ok)
		return ERROR_NO_STRING;
	if (*length > STINT_CLIENT_ID_MAX)
		return ERROR_ID_TOO_LONG;
	if (id_has_replacement(id, *length) && id_has_lone_surrogate(unit, units))
		return ERROR_LONE_SURROGATE;
	return 0;
}

/* V8 hands out units of UTF-16 in two thirds of the time that it takes for UTF-8; most ids are ASCII. */
HOT_PART static inline int id_take(napi_env env, napi_value value, char id[static ID_ROOM], size_t *length) {
	char16_t unit[ID_ROOM];
	if (napi_get_value_string_utf16(env, value, unit, ID_ROOM, length) != napi_ok)
		return ERROR_NO_STRING;
	if (*length > STINT_CLIENT_ID_MAX)
		return ERROR_ID_TOO_LONG;
	if (id_narrow(unit, *length, id))
		return 0;
	return id_take_wide(env, value, unit, *length, id, length);
}

#endif
