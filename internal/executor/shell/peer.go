package shell

import (
	"context"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/boottime"
	"gitlab.com/skerry/skerry/internal/executor/scope"
)

// heal corrects the record of the agent's process. A runner that is killed between an agent's start
// and its record leaves an agent that no record names: the next one starts another, which finds the
// directory taken and waits for it, and its pid is recorded. Who listens on the socket is the kernel's word.
func (v *environment) heal(ctx context.Context, conn net.Conn) {
	pid, ok := peer(conn)
	if !ok {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	p, known := v.readAgent()
	if known && p.pid == pid {
		return
	}
	if known {
		p.kill(ctx) // it cannot have the directory, but once the other has ended, it could
	}
	if p, ok := identify(pid); ok {
		if err := os.WriteFile(v.path(fileAgent), []byte(p.String()), 0o600); err != nil {
			v.e.log.Warn("The process of a job's agent could not be recorded", "ref", v.ref, "error", err)
		}
		if scope.Together(pid) {
			v.leave(ctx, p)
		}
	}
}

// identify reads what tells the living process pid from a later one with the same number.
func identify(pid int) (process, bool) {
	_, start, err := stat(pid)
	return process{pid: pid, start: start, boot: boottime.ID()}, err == nil
}

// peer is the pid of the process that listens at the other end (SO_PEERCRED, unix(7)).
func peer(conn net.Conn) (pid int, ok bool) {
	uc, isUnix := conn.(*net.UnixConn)
	if !isUnix {
		return 0, false
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil && cred.Pid > 1 {
			pid, ok = int(cred.Pid), true
		}
	})
	return pid, ok && err == nil
}
