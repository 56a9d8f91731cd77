// Package supervisor keeps a few programs running as the first process of a container does: it starts them, each as its
// own user and without rights it does not need, starts them again when they end, carries what they say to one log, and
// reaps what they and others leave behind.
//
// The process is made a child subreaper, so all of it works, and is tested, below another first process as well.
// What is re-parented to it is reaped and nothing else: Podman's conmon outlives the service that started it.
//
// Sources: prctl(2) PR_SET_CHILD_SUBREAPER, wait(2), capabilities(7), sd_listen_fds(3).
package supervisor
