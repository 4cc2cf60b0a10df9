package api

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/docs"
	"github.com/ringback/ringback/job"
)

// callbackSchema is the schema of a callback's body in a format. What is the
// operation's own affair (raw, template) has none.
func callbackSchema(schemas huma.Registry, op *docs.Operation, format string) *huma.Schema {
	switch format {
	case "envelope":
		return message(op, dataSchema(schemas))
	case "thin":
		return message(op, &huma.Schema{Type: "object"})
	case "cloudevents-structured":
		return shared(schemas, "CloudEvent", cloudEventSchema)
	}
	return &huma.Schema{}
}

func text(description string) *huma.Schema {
	return &huma.Schema{Type: "string", Description: description}
}

func moment(description string) *huma.Schema {
	return &huma.Schema{Type: "string", Format: "date-time", Description: description}
}

// types are the words for an operation's events.
func types(op *docs.Operation) []any {
	var all []any
	for _, e := range op.Callbacks[0].Examples {
		all = append(all, op.Name+"."+string(e.Event))
	}
	return all
}

// message is what Standard Webhooks recommend: type, timestamp, data.
func message(op *docs.Operation, data *huma.Schema) *huma.Schema {
	return &huma.Schema{
		Type: "object", Required: []string{"type", "timestamp", "data"},
		Properties: map[string]*huma.Schema{
			"type":      {Type: "string", Enum: types(op), Description: "The operation and the event."},
			"timestamp": moment("When it happened."),
			"data":      data,
		},
	}
}

// shared puts a schema into the registry, once, and refers to it.
func shared(schemas huma.Registry, name string, build func() *huma.Schema) *huma.Schema {
	if schemas.Map()[name] == nil {
		schemas.Map()[name] = build()
	}
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}

// dataSchema is the data of an envelope.
func dataSchema(schemas huma.Registry) *huma.Schema {
	failure := schemas.Schema(reflect.TypeFor[client.JobError](), true, "JobError")
	called := shared(schemas, "CallbackJob", calledJobSchema)
	return shared(schemas, "CallbackData", func() *huma.Schema {
		encoded := text("A result of other octets.")
		encoded.ContentEncoding = "base64"
		link := text("A link to a result that is too large to stand here; it lasts as long as the job.")
		link.Format = "uri-reference"
		return &huma.Schema{
			Type: "object", Required: []string{"job"},
			Properties: map[string]*huma.Schema{
				"job":           called,
				"state":         text("What the call gave as callbackState."),
				"content_type":  text("The result's own."),
				"result":        {Description: "A result that is JSON."},
				"result_text":   text("A result that is other UTF-8 text."),
				"result_base64": encoded,
				"result_url":    link,
				"progress":      {Description: "With the event progress: what the backend said."},
				"question_key":  text("With the event ask: the same question has the same key."),
				"question":      {Description: "With the event ask: what the backend wants to know."},
				"reply_url":     {Type: "string", Format: "uri-reference", Description: "With the event ask: where an answer may be sent later."},
				"error":         failure,
			},
		}
	})
}

// calledJobSchema is the job in a callback.
func calledJobSchema() *huma.Schema {
	var statuses []any
	for _, status := range []job.State{job.Accepted, job.Running, job.Waiting, job.Succeeded, job.Failed, job.Canceled, job.Expired} {
		statuses = append(statuses, status.String())
	}
	return &huma.Schema{
		Type: "object", Description: "The job as the event left it.", Required: []string{"id", "operation", "status", "created_at"},
		Properties: map[string]*huma.Schema{
			"id": {Type: "string"}, "operation": {Type: "string"}, "status": {Type: "string", Enum: statuses},
			"created_at": moment("When the call was accepted."), "started_at": moment("When the first run began."),
			"finished_at": moment("When the job ended."),
		},
	}
}

// cloudEventSchema is a CloudEvent 1.0 in JSON.
func cloudEventSchema() *huma.Schema {
	return &huma.Schema{
		Type: "object", Required: []string{"specversion", "id", "source", "type"},
		Properties: map[string]*huma.Schema{
			"specversion": {Type: "string", Enum: []any{"1.0"}}, "id": text("The callback's id."), "source": text("The gateway and the operation."),
			"type": text("The operation and the event."), "subject": text("The job's id."), "time": moment("When it happened."),
			"datacontenttype": text("Of the data."), "data": {}, "data_base64": text("Data that is no text."),
		},
	}
}
