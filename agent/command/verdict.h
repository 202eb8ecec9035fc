/*
 * verdict.h - what the library says of a client, for the command line.
 */
#ifndef STINT_VERDICT_H
#define STINT_VERDICT_H

#include <jansson.h>
#include <stdint.h>

struct stint_result;

/* Asks by way of this host's agent, under a policy that must exist; cost 0: takes nothing, and looks what is left
 * for a cost of 1. Returns 0; or a STINT_E...: STINT_EAGENT also when the library would decide alone. */
int verdict_ask(const char *socket_path, const char *policy, const char *client_id, uint32_t cost,
                struct stint_result *);

void verdict_add(json_t *object, const struct stint_result *); /* as members of a JSON object */
void verdict_print(const struct stint_result *);               /* as a line */

#endif
