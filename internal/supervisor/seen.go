package supervisor

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Seen calls f on a thread that has the rights of another user on files, and returns what it does. f must start no
// goroutine that is to have them. It is for who may become that user, or is it.
func Seen(uid, gid int, f func() error) error {
	out := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err, back := asSeen(uid, gid, f)
		if back { // else the thread ends with the goroutine
			runtime.UnlockOSThread()
		}
		out <- err
	}()
	return <-out
}

// asSeen reports, besides what f returned, whether the present thread has its own rights again.
func asSeen(uid, gid int, f func() error) (err error, back bool) { //nolint:revive // the error is f's
	if err := setFSIDs(uid, gid); err != nil {
		return fmt.Errorf("look at files as uid %d: %w", uid, err), setFSIDs(os.Geteuid(), os.Getegid()) == nil
	}
	err = f()
	return err, setFSIDs(os.Geteuid(), os.Getegid()) == nil
}

// setFSIDs is for the present thread. The calls do not tell whether they had an effect; asking again does.
func setFSIDs(uid, gid int) error {
	if _, err := unix.SetfsgidRetGid(gid); err != nil {
		return err
	}
	if now, err := unix.SetfsgidRetGid(-1); err != nil || now != gid {
		return unix.EPERM
	}
	if _, err := unix.SetfsuidRetUid(uid); err != nil {
		return err
	}
	if now, err := unix.SetfsuidRetUid(-1); err != nil || now != uid {
		return unix.EPERM
	}
	return nil
}
