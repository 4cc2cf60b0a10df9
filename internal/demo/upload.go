package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/clamd"
)

const (
	// maxUploadBytes is more than the demo's gateway takes, so that it is the
	// gateway that refuses, which the page shows.
	maxUploadBytes  = 64 << 20
	maxFormMemory   = 1 << 20
	maxFiles        = 20
	maxNameRunes    = 100
	callTimeout     = time.Minute
	failuresToWatch = 3
)

// takeDocuments takes what a customer hands in, gives it to the gateway, and
// returns to the page at once.
func (s *Shop) takeDocuments(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxUploadBytes)
	if err := r.ParseMultipartForm(maxFormMemory); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			http.Error(w, fmt.Sprintf("The shop takes up to %s at once.", bytesText(maxUploadBytes)), http.StatusRequestEntityTooLarge)
			return
		}
		http.Error(w, "The upload was cut off, or is not a form.", http.StatusBadRequest)
		return
	}
	// What is left of it is in the system's folder for temporary files.
	defer func() { _ = r.MultipartForm.RemoveAll() }()
	failures := 0
	if r.PostFormValue("fail") != "" {
		failures = failuresToWatch
	}
	last := 0
	if name := r.PostFormValue("sample"); name != "" {
		samples := clamd.Samples()
		i := slices.IndexFunc(samples, func(sample clamd.Sample) bool { return sample.Name == name })
		if i < 0 {
			http.Error(w, "There is no such sample.", http.StatusBadRequest)
			return
		}
		content := samples[i].Content
		last = s.submit(r.Context(), s.counter.add(name, int64(len(content)), failures), bytes.NewReader(content))
	} else {
		for _, file := range chosen(r.MultipartForm) {
			content, err := file.Open()
			if err != nil {
				http.Error(w, "The upload could not be read.", http.StatusInternalServerError)
				return
			}
			last = s.submit(r.Context(), s.counter.add(shorten(file.Filename), file.Size, failures), content)
			content.Close()
		}
	}
	if last == 0 {
		http.Error(w, "Choose a file first.", http.StatusBadRequest)
		return
	}
	http.Redirect(w, r, "/?document="+strconv.Itoa(last), http.StatusSeeOther)
}

// chosen are the files of a form. A browser sends one without a name where none
// was chosen.
func chosen(form *multipart.Form) []*multipart.FileHeader {
	files := slices.DeleteFunc(form.File["document"], func(f *multipart.FileHeader) bool { return f.Filename == "" })
	return files[:min(len(files), maxFiles)]
}

func shorten(name string) string {
	if utf8.RuneCountInString(name) <= maxNameRunes {
		return name
	}
	return string([]rune(name)[:maxNameRunes-1]) + "…"
}

// submit calls the gateway with a document. It returns the document's number.
func (s *Shop) submit(ctx context.Context, d *document, content io.Reader) int {
	// The customer who leaves the page still wants the document printed.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	defer close(d.answered)
	answer, err := s.gateway.Call(recorded(ctx, d), client.Call{
		// Call.CallbackURL would percent-encode the URL, as must be done with one
		// that holds & or #. This one reads better as it is.
		Path: "/scan?callbackURL=" + s.opt.URL + callbackPath,
		// Comes back with the callback, and tells whose verdict that is.
		State: stateOf(d),
		Body:  content, BodyBytes: d.size, ContentType: "application/octet-stream",
	})
	s.counter.change(d, func() {
		switch {
		case err != nil:
			d.status, d.remark, d.hint = refused, "the scanning service cannot be reached", "Is the gateway still running?"
			if p, ok := errors.AsType[*client.Problem](err); ok {
				d.remark, d.hint = p.Error(), p.Hint
				if p.Code == "body_too_large" {
					d.remark = "too large: the API takes up to " + bytesText(MaxDocumentBytes)
				}
			}
		case answer.Job == nil:
			answer.Result.Body.Close()
			d.status, d.remark = failed, "the gateway answered at once, which nobody asked for"
		default:
			d.status, d.jobID = processing, answer.Job.ID
			s.followers.Go(func() { s.follow(d, answer.Job.ID) })
		}
	})
	return d.number
}

const statePrefix = "document-"

func stateOf(d *document) string { return statePrefix + strconv.Itoa(d.number) }

// serveJob shows what the gateway answers when it is asked about a job.
func (s *Shop) serveJob(w http.ResponseWriter, r *http.Request) {
	number, _ := strconv.Atoi(r.PathValue("number"))
	d, ok := s.counter.look(number)
	if number == 0 || !ok || d.jobID == "" {
		http.NotFound(w, r)
		return
	}
	job, err := s.gateway.Job(r.Context(), d.jobID)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	to := json.NewEncoder(w)
	to.SetIndent("", "  ")
	// The reader of an answer that cannot be written is gone.
	_ = to.Encode(job)
}
