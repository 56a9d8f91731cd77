package register

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// errInputEnded is said when nobody answers.
var errInputEnded = errors.New("the input ended before every question was answered: use --non-interactive and flags")

// prompter asks questions. One goroutine reads the answers, so that an interrupt ends a question;
// it ends with the input, which is the process's own.
type prompter struct {
	out   io.Writer
	lines chan string
}

func newPrompter(in io.Reader, out io.Writer) *prompter {
	p := &prompter{out: out, lines: make(chan string)}
	go func() {
		defer close(p.lines)
		scanner := bufio.NewScanner(in)
		for scanner.Scan() {
			p.lines <- scanner.Text()
		}
	}()
	return p
}

// ask shows question and what an empty answer means, and repeats it until check is content. An
// empty answer takes preset; it is refused when preset is empty and required is set.
func (p *prompter) ask(ctx context.Context, question, preset string, required bool, check func(string) error) (string, error) {
	for {
		fmt.Fprintln(p.out, question)
		if preset != "" {
			fmt.Fprintf(p.out, "[%s]: ", preset)
		}
		var answer string
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("interrupted: %w", ctx.Err())
		case line, ok := <-p.lines:
			if !ok {
				return "", errInputEnded
			}
			answer = strings.TrimSpace(line)
		}
		if answer == "" {
			answer = preset
		}
		if answer == "" && required {
			continue
		}
		if check == nil || answer == "" {
			return answer, nil
		}
		err := check(answer)
		if err == nil {
			return answer, nil
		}
		fmt.Fprintln(p.out, err)
	}
}
