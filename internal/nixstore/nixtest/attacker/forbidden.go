package main

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

func token(n uint64) nixwire.Token     { return nixwire.Token{Int: n} }
func text(s string) nixwire.Token      { return nixwire.Token{Kind: nixwire.Str, Str: s} }
func list(n uint64) nixwire.Token      { return nixwire.Token{Kind: nixwire.List, Int: n} }
func pathToken(s string) nixwire.Token { return nixwire.Token{Kind: nixwire.Path, Str: s} }
func derived(s string) nixwire.Token   { return nixwire.Token{Kind: nixwire.Derived, Str: s} }

// request is something to ask for.
type request struct {
	op     nixwire.Op
	tokens []nixwire.Token
	body   []byte // of a stream
}

// requests are all that no job may ask for. They are of version 1.35 of the protocol, as dial agrees on no feature.
func requests(path string) map[string]request {
	all := map[string]request{
		"optimise":       {op: nixwire.OptimiseStore},
		"repair all":     {op: nixwire.VerifyStore, tokens: []nixwire.Token{token(1), token(1)}},
		"repair":         {op: nixwire.BuildPaths, tokens: []nixwire.Token{list(1), derived(path), token(1)}},
		"repair, result": {op: nixwire.BuildPathsWithResults, tokens: []nixwire.Token{list(1), derived(path), token(1)}},
		"root":           {op: nixwire.AddPermRoot, tokens: []nixwire.Token{pathToken(path), text("/nix/var/nix/gcroots/skerry/pins/mine")}},
		"log":            {op: nixwire.AddBuildLog, tokens: []nixwire.Token{text(path[len(nixwire.StoreDir)+1:] + ".drv")}, body: []byte("a lie")},
		"realisation":    {op: nixwire.RegisterDrvOutput, tokens: []nixwire.Token{text(`{"id":"sha256:` + strings.Repeat("0", 64) + `!out","outPath":"` + path[len(nixwire.StoreDir)+1:] + `","signatures":[],"dependentRealisations":{}}`)}},
		"many, repair":   {op: nixwire.AddMultipleToStore, tokens: []nixwire.Token{token(1), token(0)}, body: make([]byte, 8)},
		"add, repair":    {op: nixwire.AddToStore, tokens: []nixwire.Token{text("mine"), text("fixed:r:sha256"), list(0), token(1)}, body: archiveOf(evil)},
		"a huge name":    {op: nixwire.AddToStore, tokens: []nixwire.Token{text(strings.Repeat("x", 1000)), text("fixed:r:sha256"), list(0), token(0)}, body: archiveOf(evil)},
		"no name":        {op: nixwire.AddToStore, tokens: []nixwire.Token{text("../../mine"), text("fixed:r:sha256"), list(0), token(0)}, body: archiveOf(evil)},
		"own derivation": {op: nixwire.BuildDerivation, tokens: []nixwire.Token{
			pathToken(nixwire.StoreDir + "/" + strings.Repeat("1", 32) + "-mine.drv"), list(1), text("out"), {Kind: nixwire.OptPath, Str: path}, text(""), text(""),
			list(0), text("builtin"), text("builtin:fetchurl"), list(0), list(0), token(0),
		}},
	}
	for action := range uint64(4) {
		all[fmt.Sprint("collect ", action)] = request{op: nixwire.CollectGarbage, tokens: []nixwire.Token{
			token(action), list(1), pathToken(path), token(1), token(1 << 62), token(0), token(0), token(0),
		}}
	}
	for op := nixwire.AddPermRoot + 1; op < nixwire.AddPermRoot+20; op++ {
		all[fmt.Sprint("operation ", uint64(op))] = request{op: op}
	}
	return all
}

// forbidden asks for each of them; one that is not answered by an error is printed as allowed.
func forbidden(path, socket string) error {
	all := requests(path)
	for name, r := range all {
		if err := try(socket, r.op, r.tokens, r.body); err == nil {
			say("allowed:", name)
		} else {
			say(name+":", err)
		}
	}
	say("asked for", len(all))
	return nil
}

// handle opens the root directory of the file system that dir is of, as root of a container without CAP_DAC_READ_SEARCH
// cannot.
func handle(dir string) error {
	mount, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(mount) //nolint:errcheck // nothing to lose
	own, _, err := unix.NameToHandleAt(unix.AT_FDCWD, dir, 0)
	if err != nil {
		say("no handles:", err)
		return nil
	}
	root := bytes.Clone(own.Bytes())
	for i := range root {
		root[i] = 0
	}
	root[0] = 2 // the inode that a root directory has in most file systems
	for what, h := range map[string]unix.FileHandle{"root": unix.NewFileHandle(own.Type(), root), "own": own} {
		fd, err := unix.OpenByHandleAt(mount, h, unix.O_RDONLY)
		if err == nil {
			_ = unix.Close(fd)
			say("opened", what)
			continue
		}
		say(what+":", err)
	}
	return nil
}
