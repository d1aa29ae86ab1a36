"""The Grafana dashboards, as data; `python -m charts.dashboards` writes them to charts/ws402/files/dashboards/.

A module a dashboard, each with rows of panels in plain PromQL. What every dashboard shares (variables, selectors,
links, annotations) stands in `parts`, once.
"""
