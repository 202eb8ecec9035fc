/*
 * agent.c - a worker's attachment to the agent, made when the first request needs it.
 */
#include "module.h"

static int attach(struct ngx_stint_main *m) {
	if (m->attachment)
		return 0;
	return stint_open(&m->attachment, (const char *)m->socket.data);
}

int ngx_stint_find_limiter(struct ngx_stint_main *m, struct ngx_stint_policy *policy) {
	if (policy->limiter)
		return 0;
	int error = attach(m);
	return error ? error : stint_limiter_new(&policy->limiter, m->attachment, &policy->options);
}

static void dispatch(ngx_event_t *event) {
	ngx_connection_t *c = event->data;
	struct ngx_stint_main *m = c->data;
	stint_dispatch(m->attachment);
}

/* The descriptor belongs to the library: this connection is nginx's handle for it, and never closes it. It is
 * level-triggered, and readable only while there is something to dispatch. */
int ngx_stint_watch(struct ngx_stint_main *m) {
	if (m->connection)
		return 0;
	int fd = stint_fd(m->attachment);
	if (fd < 0)
		return fd;
	ngx_connection_t *c = ngx_get_connection(fd, ngx_cycle->log);
	if (!c)
		return STINT_ESYSTEM;
	c->data = m;
	c->read->handler = dispatch;
	c->read->log = c->log;
	if (ngx_add_event(c->read, NGX_READ_EVENT, NGX_LEVEL_EVENT) != NGX_OK) {
		ngx_free_connection(c);
		c->fd = (ngx_socket_t)-1;
		return STINT_ESYSTEM;
	}
	m->connection = c;
	return 0;
}

static void forget_connection(struct ngx_stint_main *m) {
	ngx_connection_t *c = m->connection;
	if (!c)
		return;
	ngx_del_event(c->read, NGX_READ_EVENT, 0);
	ngx_free_connection(c);
	c->fd = (ngx_socket_t)-1;
	m->connection = NULL;
}

void ngx_stint_detach(struct ngx_stint_main *m) {
	struct ngx_stint_policy **policies = m->policies.elts;
	for (ngx_uint_t i = 0; i < m->policies.nelts; i++) {
		stint_limiter_free(policies[i]->limiter);
		policies[i]->limiter = NULL;
	}
	forget_connection(m);
	stint_close(m->attachment);
	m->attachment = NULL;
}
