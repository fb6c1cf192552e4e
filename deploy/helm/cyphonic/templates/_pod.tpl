{{- /* What all pods have in common. */ -}}
{{- define "cyphonic.podSettings" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 7440
  runAsGroup: 7440
  fsGroup: 7440
  fsGroupChangePolicy: OnRootMismatch
  # The TRS's 443/tcp, for a user without capabilities.
  sysctls:
    - { name: net.ipv4.ip_unprivileged_port_start, value: "0" }
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "cyphonic.image-of-container" -}}
image: {{ include "cyphonic.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{- /* How a service is asked for its health, and how it leaves: Services forget it first, then it ends. */ -}}
{{- define "cyphonic.life" -}}
startupProbe:
  httpGet: { path: /readyz, port: metrics }
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: { path: /readyz, port: metrics }
  periodSeconds: 2
  failureThreshold: 1
livenessProbe:
  httpGet: { path: /healthz, port: metrics }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
lifecycle:
  preStop:
    exec:
      command: [sleep, {{ .Values.drainSeconds | quote }}]
{{- end }}

{{- define "cyphonic.metricsEnv" -}}
- name: CYPHONIC_METRICS
  value: "0.0.0.0:{{ .Values.metrics.port }}"
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
