// Package worker is a client of nix-daemon: as much of the worker protocol as looking after a store takes.
package worker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Conn is a connection to nix-daemon, as far as we need one. The protocol's source: Nix,
// src/libstore/{worker-protocol.hh,daemon.cc}.
type Conn struct {
	conn  net.Conn
	in    *bufio.Reader
	out   *bufio.Writer
	minor uint64 // of the version both speak; the major is 1
	Nix   string // the daemon's version, if it says so
	trust uint64 // as the daemon says it: 1 trusted, 2 not, 0 unknown
}

// Numbers of the protocol.
const (
	magicHello  = 0x6e697863
	magicAnswer = 0x6478696f
	ourMinor    = 35
	leastMinor  = 21

	opIsValidPath    = 1
	opAddTempRoot    = 11
	opCollectGarbage = 20
	opAddBuildLog    = 45

	sayNext  = 0x6f6c6d67
	sayWrite = 0x64617416
	sayLast  = 0x616c7473
	sayError = 0x63787470
	sayStart = 0x53545254
	sayStop  = 0x53544f50
	sayTell  = 0x52534c54

	collectSpecific = 3

	maxString = 64 << 20 // no message of a daemon is longer
	maxCount  = 16 << 20
)

// RemoteError is what the daemon says went wrong.
type RemoteError string

func (e RemoteError) Error() string { return string(e) }

// Dial connects and shakes hands. The connection lasts no longer than ctx.
func Dial(ctx context.Context, socket string) (*Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	c := &Conn{conn: conn, in: bufio.NewReader(conn), out: bufio.NewWriter(conn)}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	if err := c.hello(); err != nil {
		stop()
		c.Close()
		return nil, fmt.Errorf("shake hands with nix-daemon at %s: %w", socket, err)
	}
	return c, nil
}

// Close ends the connection, and with it its temporary roots.
func (c *Conn) Close() { _ = c.conn.Close() }

// Protocol is the version that both speak.
func (c *Conn) Protocol() string { return fmt.Sprintf("1.%d", c.minor) }

func (c *Conn) hello() error {
	if err := c.send(uint64(magicHello), uint64(1<<8|ourMinor)); err != nil {
		return err
	}
	magic, err := c.number()
	if err != nil {
		return err
	}
	if magic != magicAnswer {
		return errors.New("it is no Nix daemon")
	}
	v, err := c.number()
	if err != nil {
		return err
	}
	if v>>8 != 1 || v&0xff < leastMinor {
		return fmt.Errorf("it speaks version %d.%d of the protocol; Nix 2.8 or later is needed", v>>8, v&0xff)
	}
	c.minor = min(v&0xff, ourMinor)
	if err := c.send(uint64(0), uint64(0)); err != nil { // no CPU affinity, no reserved space
		return err
	}
	if c.minor >= 33 {
		if c.Nix, err = c.text(); err != nil {
			return err
		}
	}
	if c.minor >= 35 {
		if c.trust, err = c.number(); err != nil {
			return err
		}
	}
	return c.listen()
}

// Trusted reports whether the daemon trusts us. One that does not say so in its greeting is asked to add a build log, which
// only the trusted may; the connection is of no use then.
func (c *Conn) Trusted() (bool, error) {
	if trusted, known := c.Greeted(); known {
		return trusted, nil
	}
	if err := c.send(uint64(opAddBuildLog), "00000000000000000000000000000000-skerry.drv"); err != nil {
		return false, err
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(patience)) // of an open connection
	err := c.listen()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// It may be slow, or wait for the log: an empty one.
		_ = c.conn.SetReadDeadline(time.Now().Add(10 * patience))
		if err := c.send(uint64(0)); err != nil {
			return false, err
		}
		err = c.listen()
	}
	var refused RemoteError
	if errors.As(err, &refused) {
		return false, nil
	}
	return err == nil, err
}

// patience is how long a daemon takes to refuse.
const patience = 2 * time.Second

// Greeted is whether the daemon said in its greeting that it trusts us, and whether it said anything about it: Nix before
// 2.15 does not.
func (c *Conn) Greeted() (trusted, known bool) { return c.trust == 1, c.trust != 0 }

// Hold makes a path a temporary root of this connection, and reports whether it is valid then.
func (c *Conn) Hold(path string) (valid bool, err error) {
	for _, op := range []uint64{opAddTempRoot, opIsValidPath} {
		if err := c.send(op, path); err != nil {
			return false, err
		}
		if err := c.listen(); err != nil {
			return false, err
		}
		n, err := c.number()
		if err != nil {
			return false, err
		}
		valid = n != 0
	}
	return valid, nil
}

// Remove deletes paths, all of which must be dead and none of which may refer to another. It returns how many bytes
// became free. A path that has come to life meanwhile is a RemoteError, and it and those after it are still there.
func (c *Conn) Remove(paths []string) (int64, error) {
	// What follows the paths: heed liveness, no limit, and three numbers without meaning.
	if err := c.send(uint64(opCollectGarbage), uint64(collectSpecific), paths, uint64(0), uint64(1)<<62, uint64(0), uint64(0), uint64(0)); err != nil {
		return 0, err
	}
	if err := c.listen(); err != nil {
		return 0, err
	}
	n, err := c.count()
	if err != nil {
		return 0, err
	}
	for range n {
		if _, err := c.text(); err != nil {
			return 0, err
		}
	}
	freed, err := c.number()
	if err != nil {
		return 0, err
	}
	_, err = c.number()
	return int64(min(freed, 1<<62)), err //nolint:gosec // it fits
}

// send writes numbers, strings and sets of strings.
func (c *Conn) send(values ...any) error {
	for _, v := range values {
		switch v := v.(type) {
		case uint64:
			c.put(v)
		case string:
			c.putText(v)
		case []string:
			c.put(uint64(len(v)))
			for _, s := range v {
				c.putText(s)
			}
		}
	}
	return c.out.Flush()
}

func (c *Conn) put(n uint64) { _, _ = c.out.Write(binary.LittleEndian.AppendUint64(nil, n)) } // Flush tells

func (c *Conn) putText(s string) {
	c.put(uint64(len(s)))
	_, _ = c.out.WriteString(s)
	_, _ = c.out.Write(make([]byte, padding(uint64(len(s)))))
}

func padding(n uint64) uint64 { return (8 - n%8) % 8 }

func (c *Conn) number() (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(c.in, b[:]); err != nil {
		return 0, fmt.Errorf("the connection ended: %w", err)
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

func (c *Conn) count() (uint64, error) {
	n, err := c.number()
	if err == nil && n > maxCount {
		err = fmt.Errorf("%d values cannot be", n)
	}
	return n, err
}

func (c *Conn) text() (string, error) {
	n, err := c.number()
	if err != nil {
		return "", err
	}
	if n > maxString {
		return "", fmt.Errorf("a string of %d bytes cannot be", n)
	}
	// As it comes: a length alone must not cost memory.
	b, err := io.ReadAll(io.LimitReader(c.in, int64(n+padding(n)))) //nolint:gosec // n is small
	if err == nil && uint64(len(b)) < n+padding(n) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", fmt.Errorf("the connection ended: %w", err)
	}
	return string(b[:n]), nil
}

// listen reads what the daemon says while it works, until it has done or says what went wrong.
func (c *Conn) listen() error {
	for {
		kind, err := c.number()
		if err != nil {
			return err
		}
		switch kind {
		case sayLast:
			return nil
		case sayError:
			return c.failure()
		case sayNext, sayWrite:
			err = c.skip("s")
		case sayStart:
			err = c.skip("nnnsfn")
		case sayStop:
			err = c.skip("n")
		case sayTell:
			err = c.skip("nnf")
		default:
			err = fmt.Errorf("the daemon says %#x, which is no message", kind)
		}
		if err != nil {
			return err
		}
	}
}

// skip reads what a message has: n a number, s a string, f fields.
func (c *Conn) skip(shape string) error {
	for _, kind := range shape {
		var err error
		switch kind {
		case 'n':
			_, err = c.number()
		case 's':
			_, err = c.text()
		case 'f':
			err = c.fields()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) fields() error {
	n, err := c.count()
	if err != nil {
		return err
	}
	for range n {
		kind, err := c.number()
		if err != nil {
			return err
		}
		shape := "n"
		if kind != 0 {
			shape = "s"
		}
		if err := c.skip(shape); err != nil {
			return err
		}
	}
	return nil
}

// failure reads an error. It returns a RemoteError, or another when it cannot be read.
func (c *Conn) failure() error {
	if c.minor < 26 {
		text, err := c.text()
		if err == nil {
			err = c.skip("n")
		}
		return cause(err, RemoteError(text))
	}
	if err := c.skip("sns"); err != nil { // type, level, name
		return err
	}
	text, err := c.text()
	if err == nil {
		err = c.skip("n") // position
	}
	if err != nil {
		return err
	}
	n, err := c.count()
	for ; err == nil && n > 0; n-- {
		err = c.skip("ns")
	}
	return cause(err, RemoteError(text))
}

func cause(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
