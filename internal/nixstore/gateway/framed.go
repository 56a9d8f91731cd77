package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// content is what a framed stream carries.
type content struct {
	archive bool   // a NAR
	many    bool   // paths' infos and archives
	limit   uint64 // of bytes where it is neither; 0: none
}

// maxTextContent is how large a text may be that the daemon takes into memory as a whole.
const maxTextContent = 64 << 20

// contentOf says what AddToStore's method lets follow.
func contentOf(request []nixwire.Token) (content, bool) {
	method, algorithm, ok := cutLast(request[1].Str, ":")
	if !ok || algorithm == "" {
		return content{}, false
	}
	switch method {
	case "text":
		return content{limit: maxTextContent}, true
	case "fixed":
		return content{}, true
	case "fixed:r", "fixed:git":
		return content{archive: true}, true
	}
	return content{}, false
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// framed serves an operation whose request goes on with a framed stream: while that is passed on, the daemon's messages
// go the other way.
func (s *session) framed(ctx context.Context, op nixwire.Op, shape nixwire.Operation, request []nixwire.Token) error {
	var c content
	var list []claim
	switch op { //nolint:exhaustive // the others have no stream, or are refused
	case nixwire.AddToStore:
		c, _ = contentOf(request)
	case nixwire.AddToStoreNar:
		c.archive = true
		n := request[3].Int
		request[6+n].Int = 0            // ultimate
		request[len(request)-1].Int = 0 // do not check signatures
		request = fewSignatures(request)
		list = []claim{{path: nixwire.StorePath(request[0].Str), from: added, size: request[5+n].Int}}
	case nixwire.AddMultipleToStore:
		c.many = true
		request[1].Int = 0 // do not check signatures
	}
	s.up.W.Uint64(uint64(op))
	nixwire.Write(s.up.W, request)
	more, err := s.stream(c)
	var failed *nixconn.FailureError
	switch list = append(list, more...); {
	case errors.As(err, &failed):
		if _, err := s.hold(ctx, list); err != nil { // some of it may have been added
			return err
		}
		return s.fail(failed)
	case err != nil:
		return err
	}
	answer, err := nixwire.Read(s.up.R, s.v, shape.Answer, &nixwire.Limit{Left: nixconn.MaxAnswer})
	if err != nil {
		return err
	}
	if op == nixwire.AddToStore {
		list = append(list, claim{path: nixwire.StorePath(answer[0].Str), from: added, size: infoSize(answer[1:])})
	}
	if err := s.mustHold(ctx, list); errors.Is(err, errVanished) {
		return s.fail(err)
	} else if err != nil {
		return err
	}
	if op == nixwire.AddToStore {
		s.g.hide(&answer[1]) // the deriver
	}
	return s.answer(answer...)
}

// stream passes a stream on until the daemon answers. A *nixconn.FailureError says that the whole stream has passed and there is
// no answer.
func (s *session) stream(c content) ([]claim, error) {
	frames := nixwire.NewFrames(s.client.R)
	var list []claim
	passed := make(chan error, 1)
	go func() {
		var err error
		if list, err = s.carry(c, frames); err == nil {
			nixwire.NewFrameWriter(s.up.W).End()
			err = s.up.W.Flush()
		}
		if err != nil {
			_ = s.up.Close() // the stream cannot be ended any more: that ends the operation
		}
		passed <- err
	}()
	err := s.up.Last(s.relay)
	var failed *nixconn.FailureError
	lost := err != nil && !errors.As(err, &failed)
	if lost {
		_ = s.client.SetReadDeadline(time.Unix(1, 0)) // of an open connection
	}
	broken := <-passed
	var bad *nixwire.MalformedError
	switch {
	case broken == nil:
		return list, err
	case errors.As(broken, &bad):
		return nil, broken
	case failed != nil: // the daemon has ended the connection, too
		drained, err := frames.Drain(), s.fail(failed)
		if drained != nil { // a tunnel has lost a part of the stream
			s.linger()
		}
		return nil, errors.Join(err, errEnd)
	case lost:
		return nil, err
	default:
		return nil, broken
	}
}

// carry passes a stream's content on and returns which paths are in it.
func (s *session) carry(c content, in *nixwire.Frames) ([]claim, error) {
	out := nixwire.NewFrameWriter(s.up.W)
	if c.many {
		return passMany(in, out)
	}
	t := tunnel{from: s.client, to: s.up}
	defer t.close()
	var a nixwire.Archive
	for left := c.limit; ; {
		if n, err := t.pass(in, c.ahead(&a)); err != nil {
			return nil, err
		} else if c.archive {
			a.Skip(n)
		}
		p, err := in.Piece()
		if err == io.EOF { //nolint:errorlint // this very one is the end
			if c.archive && !a.Done() {
				return nil, &nixwire.MalformedError{What: "an archive that ends too early"}
			}
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		n := len(p)
		if c.archive {
			if n, err = a.Scan(p); err != nil {
				return nil, err
			}
		}
		switch {
		case n < len(p):
			return nil, &nixwire.MalformedError{What: "something after the end of an archive"}
		case c.limit > 0 && uint64(n) > left:
			return nil, &nixwire.MalformedError{What: fmt.Sprintf("a text of more than %d bytes; add it as a file instead", c.limit)}
		}
		left -= min(left, uint64(n)) //nolint:gosec // not negative
		if _, err := out.Write(p); err != nil {
			return nil, err
		}
		in.Discard(n)
	}
}

// maxMany is how many paths may be added at once.
const maxMany = 1 << 20

// passMany is pass for AddMultipleToStore.
func passMany(frames *nixwire.Frames, out nixwire.FrameWriter) ([]claim, error) {
	in, w := nixwire.NewReader(frames, nixconn.BufferSize), nixwire.NewWriter(out, nixconn.BufferSize/2)
	in.OnWait(w.Flush)
	n, err := in.Uint64()
	if err != nil {
		return nil, err
	}
	if n > maxMany {
		return nil, &nixwire.MalformedError{What: fmt.Sprintf("%d paths at once", n)}
	}
	w.Uint64(n)
	limit := &nixwire.Limit{Left: math.MaxInt32}
	var list []claim
	for range n {
		limit.Left = maxRequest
		info, err := nixwire.Read(in, nixwire.Version{}, nixwire.KeyedInfoShape(), limit)
		if err != nil {
			return list, err
		}
		info[6+info[3].Int].Int = 0 // ultimate
		nixwire.Write(w, fewSignatures(info))
		size := infoSize(info[1:])
		if err := passArchive(in, w, size); err != nil {
			return list, err
		}
		list = append(list, claim{path: nixwire.StorePath(info[0].Str), from: added, size: size})
	}
	if _, err := in.Uint64(); !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return list, &nixwire.MalformedError{What: "more paths than were announced"}
	}
	return list, w.Flush()
}

// passArchive passes an archive of a size on.
func passArchive(in *nixwire.Reader, w *nixwire.Writer, size uint64) error {
	var a nixwire.Archive
	for !a.Done() {
		p, err := in.Piece(math.MaxInt)
		if err != nil {
			return errors.Join(&nixwire.MalformedError{What: "an archive that ends too early"}, err)
		}
		n, err := a.Scan(p)
		if err != nil {
			return err
		}
		w.Raw(p[:n])
		in.Discard(n)
	}
	if a.Size() != size {
		return &nixwire.MalformedError{What: fmt.Sprintf("an archive of %d bytes that was said to have %d", a.Size(), size)}
	}
	return w.Err()
}

// archive serves NarFromPath. After the daemon has begun its answer there is no place for an error, so whether the path
// is there is found out first.
func (s *session) archive(ctx context.Context, request []nixwire.Token) error {
	p := nixwire.StorePath(request[0].Str)
	valid, err := s.hold(ctx, claims(reused, p))
	if err != nil {
		return err
	}
	if !valid(p) {
		return s.fail(fmt.Errorf("path '%s' is not valid", p))
	}
	s.up.W.Uint64(uint64(nixwire.NarFromPath))
	s.up.W.String(string(p))
	if err := s.up.W.Flush(); err != nil {
		return err
	}
	var failed *nixconn.FailureError
	if err := s.up.Last(s.relay); errors.As(err, &failed) {
		return s.fail(failed)
	} else if err != nil {
		return err
	}
	s.client.W.Uint64(nixwire.Last)
	var a nixwire.Archive
	for !a.Done() {
		piece, err := s.up.R.Piece(math.MaxInt)
		if err != nil {
			return errors.Join(err, errEnd)
		}
		n, err := a.Scan(piece)
		if err != nil {
			return errors.Join(err, errEnd)
		}
		s.client.W.Raw(piece[:n])
		s.up.R.Discard(n)
		if err := s.client.W.Err(); err != nil {
			return errors.Join(err, errEnd)
		}
	}
	return s.client.W.Flush()
}
