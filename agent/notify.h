/* notify.h - tells systemd of the agent; does nothing without systemd. The only user of libsystemd. */
#ifndef STINT_NOTIFY_H
#define STINT_NOTIFY_H

#include <stdint.h>

void notify_ready(const char *status);
void notify_status(const char *status);
void notify_reloading(void);
void notify_stopping(void);
void notify_watchdog(void);
uint64_t notify_watchdog_us(void); /* systemd wants to hear of us at least this often; 0: never */

#endif
