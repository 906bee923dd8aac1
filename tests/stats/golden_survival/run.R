# Golden values of R survival: Cox models with strata, ties (Efron) and covariates.
# Rscript run.R, in this folder. Data are drawn here; nothing of a patient is in them.
suppressMessages(library(survival))
set.seed(18)
n <- 150
d <- data.frame(
  score = round(rnorm(n), 3),
  high = rbinom(n, 1, 0.4),
  age = round(rnorm(n, 55, 12)),
  risk = sample(c("adverse", "favorable", "intermediate"), n, TRUE),
  cohort = sample(c("A", "B", "C"), n, TRUE, c(0.6, 0.3, 0.1)),
  sex = sample(c("f", "m"), n, TRUE)
)
hazard <- exp(0.5 * d$score - 0.4 * d$high + 0.02 * (d$age - 55) + (d$cohort == "B"))
death <- rexp(n, hazard / 20)
end <- runif(n, 5, 40)
d$time <- ceiling(pmin(death, end)) # whole months: many ties
d$event <- as.integer(death <= end)
write.csv(d, "data.csv", row.names = FALSE)
rows <- list()
for (feature in c("score", "high")) {
  terms <- c(
    univariable = "strata(cohort)",
    adjusted = "age + risk + strata(cohort)",
    crossed = "age + strata(cohort, sex)"
  )
  for (model in names(terms)) {
    f <- as.formula(paste("Surv(time, event) ~", feature, "+", terms[[model]]))
    made <- summary(coxph(f, data = d, ties = "efron"))$coefficients[1, ]
    rows[[length(rows) + 1]] <- data.frame(
      feature = feature, model = model,
      coefficient = sprintf("%.12g", made[["coef"]]), se = sprintf("%.12g", made[["se(coef)"]]),
      p_value = sprintf("%.12g", made[["Pr(>|z|)"]])
    )
  }
}
write.csv(do.call(rbind, rows), "fit.csv", row.names = FALSE, quote = FALSE)
writeLines(capture.output(sessionInfo()), "sessionInfo.txt")
