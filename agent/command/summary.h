/*
 * summary.h - how this host's agent stands, in a few lines.
 */
#ifndef STINT_SUMMARY_H
#define STINT_SUMMARY_H

#include <jansson.h>
#include <stdio.h>

/* A line "NAME  VALUE", fit for a terminal whatever the value holds. An empty value is left out. */
void summary_print_field(FILE *, const char *name, const char *value);

/* The agent, its database, what is wrong with that, and what waits for it; from the agent's status. */
void summary_print_agent(FILE *, const json_t *status);

#endif
