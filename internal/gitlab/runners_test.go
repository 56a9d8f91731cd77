package gitlab_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/gitlab"
)

func TestRegister(t *testing.T) {
	t.Parallel()
	expires := time.Date(2030, 1, 2, 3, 4, 5, 678e6, time.UTC)
	s := serve(t, reply(201, `{"id": 12, "token": "new-token", "token_expires_at": "2030-01-02T03:04:05.678Z"}`))
	got, err := s.client(t, nil).Register(t.Context(), gitlab.RegisterRequest{
		Token: "reg", Description: "d", TagList: "a,b", RunUntagged: true, AccessLevel: "ref_protected", MaximumTimeout: 600,
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(gitlab.Registered{ID: 12, Token: "new-token", TokenExpiresAt: &expires}, got); diff != "" {
		t.Error(diff)
	}
	sent := s.requests()[0]
	if sent.Method != http.MethodPost || sent.URI != "/api/v4/runners" {
		t.Errorf("%s %s", sent.Method, sent.URI)
	}
	body := decode(t, sent.Body)
	info, _ := body["info"].(map[string]any)
	delete(body, "info")
	want := map[string]any{
		"token": "reg", "description": "d", "tag_list": "a,b", "run_untagged": true, "locked": false, "paused": false,
		"access_level": "ref_protected", "maximum_timeout": 600.0,
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Error(diff)
	}
	if info["name"] != "skerry" || info["executor"] != "shell" {
		t.Errorf("info %v", info)
	}
}

func TestRegisterErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		want   string
		is     error
	}{
		"wrong token": {403, `{"message": "403 Forbidden - invalid token supplied"}`, "invalid token supplied", gitlab.ErrForbidden},
		"validation":  {400, `{"message": {"tags_list": ["can not be empty when runner is not allowed to pick untagged jobs"]}}`, "tags_list: can not be empty", nil},
		"422":         {422, `{"message": {"maximum_timeout": ["needs to be at least 10 minutes"]}}`, "maximum_timeout: needs", nil},
		"no token":    {201, `{"id": 3}`, "holds no token", nil},
		"no JSON":     {201, `<html>`, "not JSON", nil},
		"bad date":    {201, `{"token": "x", "token_expires_at": "soon"}`, "no date", nil},
		"500":         {500, ``, "500 Internal Server Error", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, reply(tc.status, tc.body))
			_, err := s.client(t, nil).Register(t.Context(), gitlab.RegisterRequest{Token: "reg"})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v; want %q", err, tc.want)
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("error %v is not %v", err, tc.is)
			}
			if n := len(s.requests()); n != 1 {
				t.Errorf("%d requests: a registration is not repeated", n)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body string
		want gitlab.Registered
	}{
		"json":     {`{"id": 4, "token": "glrt-x", "token_expires_at": null}`, gitlab.Registered{ID: 4, Token: "glrt-x"}},
		"no token": {`{"id": 4}`, gitlab.Registered{ID: 4, Token: "glrt-x"}},
		"old":      {`200`, gitlab.Registered{Token: "glrt-x"}},
		"old text": {`"200"`, gitlab.Registered{Token: "glrt-x"}},
		"nothing":  {``, gitlab.Registered{Token: "glrt-x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, reply(503, ""), reply(200, tc.body))
			got, err := s.client(t, nil).Verify(t.Context(), "glrt-x", "s_1")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]time.Duration{100 * time.Millisecond}, s.slept()); diff != "" {
				t.Error(diff)
			}
			sent := s.requests()[1]
			body := decode(t, sent.Body)
			if sent.Method != http.MethodPost || sent.URI != "/api/v4/runners/verify" || body["token"] != "glrt-x" || body["system_id"] != "s_1" {
				t.Errorf("sent %s %s %v", sent.Method, sent.URI, body)
			}
		})
	}
	s := serve(t, reply(403, `{"message": "403 Forbidden"}`))
	if _, err := s.client(t, nil).Verify(t.Context(), "glrt-x", ""); !errors.Is(err, gitlab.ErrForbidden) || errors.Is(err, gitlab.ErrJobGone) {
		t.Errorf("error %v; want ErrForbidden and not ErrJobGone", err)
	}
}

func TestUnregister(t *testing.T) {
	t.Parallel()
	s := serve(t, reply(204, ""), reply(204, ""), reply(403, ""))
	c := s.client(t, nil)
	if err := c.Unregister(t.Context(), "tok"); err != nil {
		t.Error(err)
	}
	if err := c.UnregisterManager(t.Context(), "tok", "r_9"); err != nil {
		t.Error(err)
	}
	if err := c.UnregisterManager(t.Context(), "tok", "r_9"); !errors.Is(err, gitlab.ErrForbidden) {
		t.Errorf("error %v; want ErrForbidden", err)
	}
	for i, want := range []request{
		{Method: "DELETE", URI: "/api/v4/runners", Body: `{"token":"tok"}`},
		{Method: "DELETE", URI: "/api/v4/runners/managers", Body: `{"token":"tok","system_id":"r_9"}`},
	} {
		got := s.requests()[i]
		if got.Method != want.Method || got.URI != want.URI || got.Body != want.Body {
			t.Errorf("sent %s %s %s, want %s %s %s", got.Method, got.URI, got.Body, want.Method, want.URI, want.Body)
		}
	}
}

func TestResetToken(t *testing.T) {
	t.Parallel()
	s := serve(t, reply(201, `{"token": "new", "token_expires_at": null}`), hangUp)
	c := s.client(t, nil)
	got, err := c.ResetToken(t.Context(), "old")
	if err != nil || got.Token != "new" || got.TokenExpiresAt != nil {
		t.Errorf("ResetToken = %+v, %v", got, err)
	}
	if sent := s.requests()[0]; sent.Method != http.MethodPost || sent.URI != "/api/v4/runners/reset_authentication_token" || sent.Body != `{"token":"old"}` {
		t.Errorf("sent %+v", sent)
	}
	if _, err := c.ResetToken(t.Context(), "old"); err == nil || len(s.requests()) != 2 {
		t.Errorf("an unanswered reset was repeated (%d requests) or is no error: %v", len(s.requests()), err)
	}
}

func TestResetTokenAsUser(t *testing.T) {
	t.Parallel()
	s := serve(t, reply(201, `{"token": "new"}`), reply(404, `{"message": "404 glpat-user not found"}`))
	c := s.client(t, nil)
	got, err := c.ResetTokenAs(t.Context(), 12, "glpat-user")
	if err != nil || got.Token != "new" {
		t.Errorf("ResetTokenAs = %+v, %v", got, err)
	}
	sent := s.requests()[0]
	if sent.Method != http.MethodPost || sent.URI != "/api/v4/runners/12/reset_authentication_token" || sent.Body != "" {
		t.Errorf("sent %+v", sent)
	}
	if sent.Header.Get("Private-Token") != "glpat-user" || sent.Header.Get("Runner-Token") != "" {
		t.Errorf("sent the headers %v", sent.Header)
	}
	if _, err := c.ResetTokenAs(t.Context(), 12, "glpat-user"); err == nil || strings.Contains(err.Error(), "glpat-user") {
		t.Errorf("error %v", err)
	}
}

// TestClock hears the server's time with an answer that refuses, and nothing of one that tells none.
func TestClock(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for name, c := range map[string]struct {
		date string
		want []time.Time
	}{
		"told":     {at.Format(http.TimeFormat), []time.Time{at}},
		"nonsense": {"yesterday", nil},
	} {
		var heard []time.Time
		s := serve(t, reply(403, `{"message":"403 Forbidden"}`, "Date: "+c.date))
		client := s.client(t, func(o *gitlab.Options) {
			o.Clock = func(server time.Time, took time.Duration) {
				if took <= 0 {
					t.Errorf("%s: it took %s", name, took)
				}
				heard = append(heard, server)
			}
		})
		if _, err := client.Verify(t.Context(), "glrt-t", ""); !errors.Is(err, gitlab.ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, heard); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
